"""Style sheet of the page, light and dark, and the script that plays one clip at a time."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--page:#fff;--soft:#f5f6f8;--line:#dfe2e8;--ink:#1b1f27;--dim:#646b79;
--blue:#2b63d9;--pale:#bccdf5;--track:#e8ebf1;--mark:#d0571b;--good:#12804a;--good-soft:#e5f5ec;
--c1:#2b63d9;--c2:#d0571b;--c3:#b98900;--c4:#12804a;--c5:#7c4fc4;--c6:#0c8a9b;--c7:#969dab}
@media(prefers-color-scheme:dark){:root{--page:#14171c;--soft:#1c2027;--line:#303641;--ink:#e6e9ef;--dim:#98a0ae;
--blue:#7ba6ff;--pale:#34497a;--track:#2a303a;--mark:#ff9b5e;--good:#4fcb8b;--good-soft:#17301f;
--c1:#7ba6ff;--c2:#ff9b5e;--c3:#e3bb45;--c4:#4fcb8b;--c5:#b594f2;--c6:#52c4d3;--c7:#7d8593}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1120px;margin:0 auto;padding:36px 28px 80px}
h1{font-size:30px;line-height:1.2;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:20px;margin:0 0 6px;letter-spacing:-.005em}
h3{font-size:15px;margin:26px 0 10px;font-weight:600}
section{margin-top:52px;scroll-margin-top:56px}
p{margin:0 0 10px}.lead{color:var(--dim);max-width:78ch;margin-bottom:18px}.note{color:var(--dim);font-size:13px}
.warning{border-left:3px solid #d98324;padding:2px 0 2px 10px;color:inherit}
.arrow{color:var(--dim)}code{font:13px/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
nav{position:sticky;top:0;z-index:2;background:var(--page);border-bottom:1px solid var(--line);margin:22px -28px 0;
padding:9px 28px;display:flex;gap:18px;flex-wrap:wrap;font-size:13.5px}
nav a{color:var(--dim);text-decoration:none}nav a:hover{color:var(--blue)}
.facts{display:flex;flex-wrap:wrap;gap:14px 34px;margin:18px 0 0}
.facts div{min-width:70px}.facts dt{color:var(--dim);font-size:12.5px}.facts dd{margin:0;font-size:16px;font-weight:550}
.facts dl{margin:0}
.scroll{overflow-x:auto;scrollbar-width:thin;scrollbar-color:var(--dim) var(--track);background:
linear-gradient(90deg,var(--page) 24px,transparent) left/48px 100% no-repeat local,
linear-gradient(270deg,var(--page) 24px,transparent) right/48px 100% no-repeat local,
linear-gradient(90deg,var(--line),transparent) left/14px 100% no-repeat scroll,
linear-gradient(270deg,var(--line),transparent) right/14px 100% no-repeat scroll}
.scroll::-webkit-scrollbar{height:9px}.scroll::-webkit-scrollbar-thumb{background:var(--dim);border-radius:5px}
.scroll::-webkit-scrollbar-track{background:var(--track);border-radius:5px}
.scroll:focus-visible,.screen video:focus-visible,audio:focus-visible{outline:3px solid var(--blue);outline-offset:2px}
table{border-collapse:collapse;font-size:14px;width:100%}
th{font-weight:500;color:var(--dim);font-size:12.5px;text-align:left;vertical-align:bottom;padding:4px 10px 6px;
border-bottom:1px solid var(--line)}
td{padding:7px 10px;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:middle}
td:first-child,th:first-child{padding-left:0}.number{text-align:right}tr.first td{border-top:2px solid var(--line)}
td .prose{min-width:20ch}td:not(.number){white-space:normal}td:first-child{white-space:nowrap}
.bar{display:flex;flex-direction:column;align-items:stretch;min-width:86px;gap:2px}.bar span{font-weight:550}
.bar svg{width:100%;height:8px;display:block}.track{fill:var(--track)}.fill{fill:var(--blue)}
line.chance{stroke:var(--mark);stroke-width:2}line.oracle{stroke:var(--good);stroke-width:2}
.legend{display:flex;gap:20px;font-size:13px;color:var(--dim);margin:10px 0 0;flex-wrap:wrap}
.legend i{display:inline-block;width:14px;height:8px;margin-right:6px;border-radius:1px;background:var(--blue)}
.legend i.chance,.legend i.oracle{width:3px;height:12px;vertical-align:-2px;background:var(--mark)}
.legend i.oracle{background:var(--good)}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(310px,1fr));gap:22px 26px}
.chart{margin:0;min-width:0}.chart svg{width:100%;height:auto;display:block}
.chart figcaption{display:flex;flex-direction:column;font-size:13.5px;line-height:1.35;margin-bottom:6px}
.chart figcaption b{font-weight:600;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
details .charts{margin-top:18px}.chart figcaption span{color:var(--dim);font-size:12.5px}
.chart text{fill:var(--dim);font-size:11px}.grid{stroke:var(--line);stroke-width:1}
path{fill:none;stroke-linejoin:round}.line{stroke:var(--blue);stroke-width:1.8}.raw{stroke:var(--pale);stroke-width:1}
.baseline{stroke:var(--mark);stroke-width:1.5;stroke-dasharray:5 4}
.dash{display:inline-block;width:16px;border-top:2px dashed var(--mark);vertical-align:middle}
.query{background:var(--soft);border-radius:10px;padding:14px 16px 16px;margin-bottom:14px}
.query header{display:flex;gap:16px;justify-content:space-between;align-items:flex-start;margin-bottom:12px}
.asked{max-width:70%}.asked .clip{display:flex;gap:14px;align-items:center}.asked video,.asked .still{width:150px}
.asked .name{display:none}
.words{margin:0;font-size:13px;line-height:1.35}.words.large{font-size:17px;font-weight:550}
.words.large:before{content:"\\201C"}.words.large:after{content:"\\201D"}
.verdict{font-size:13px;color:var(--dim);white-space:nowrap;padding:2px 10px;border-radius:20px;
border:1px solid var(--line)}
.verdict.good{color:var(--good);border-color:var(--good)}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(148px,1fr));gap:12px}
.tile{background:var(--page);border:2px solid transparent;border-radius:8px;padding:6px;display:flex;
flex-direction:column;justify-content:space-between;gap:6px;min-width:0}
.tile.right{border-color:var(--good);background:var(--good-soft)}
.clip video,.clip .still{width:100%;max-height:220px;display:block;border-radius:5px;object-fit:contain;
background:var(--line)}
.screen{position:relative}.screen.paused{cursor:pointer}
.screen.paused:after{content:"\\25B6\\FE0E";position:absolute;left:7px;bottom:7px;width:26px;height:26px;
border-radius:50%;background:rgba(0,0,0,.55);color:#fff;font:12px/26px sans-serif;text-align:center;pointer-events:none}
.clip audio{width:100%;height:36px;display:block}.asked .clip audio{width:300px}
.name{font-size:12px;line-height:1.35;margin-top:5px;color:var(--dim);display:-webkit-box;-webkit-line-clamp:3;
-webkit-box-orient:vertical;overflow:hidden}
.foot{display:flex;gap:8px;font-size:12.5px;align-items:baseline}.rank{font-weight:650}.rank:before{content:"#"}
.similarity{color:var(--dim)}.right-mark{margin-left:auto;color:var(--good);font-weight:600}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(480px,1fr));gap:26px 30px}
.picture{margin:0;min-width:0}.picture figcaption{font-size:13.5px;margin-bottom:8px}
.strips{display:grid;grid-template-columns:auto minmax(0,1fr);gap:5px 12px;align-items:center}
.row-name{font-size:12px;color:var(--dim);text-align:right}
.strips img{width:100%;height:auto;display:block;border-radius:3px;image-rendering:auto}
.beside{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:8px}.beside .row-name{text-align:left}
.beside img{width:100%;height:150px;display:block;border-radius:3px}
.stack{display:flex;height:22px;border-radius:5px;overflow:hidden;gap:1px;margin-bottom:16px}
.piece{flex-basis:0;min-width:1px}.key{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:8px}
.step{background:var(--c1)}.wait{background:var(--c2)}.compile{background:var(--c3)}.evaluation{background:var(--c4)}
.checkpoint{background:var(--c5)}.init{background:var(--c6)}.other{background:var(--c7)}
details{margin-top:12px}summary{cursor:pointer;color:var(--blue);font-size:14px}
pre{background:var(--soft);padding:14px 16px;border-radius:8px;overflow:auto;max-height:420px;
font:12.5px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
h4{font-size:13.5px;font-weight:600;margin:20px 0 6px}
.confusion{display:block;height:auto}.confusion text{fill:var(--ink);font-size:11.5px}
.confusion .on-dark,.confusion .on-light{text-anchor:middle;pointer-events:none;font-size:11px}
.confusion .on-dark{fill:var(--page)}.no-cell{fill:var(--soft)}
.right-cell{fill:var(--blue)}.wrong-cell{fill:var(--mark)}
.confusion.small text{font-size:10px}.side{display:flex;flex-wrap:wrap;gap:20px 44px;align-items:flex-start}
.side .mistakes{flex:1 1 300px;max-width:520px}.side .mistakes td{padding-top:4px;padding-bottom:4px}
.mistakes h4{margin-top:0}
.side>div{min-width:0;max-width:100%}.side .note{max-width:62ch}
.scroll+.scroll,.scroll+.charts,.scroll+.query{margin-top:22px}
.confusion rect:hover{stroke:var(--ink);stroke-width:1.5}
.pr{stroke-width:1.8}.line-1{stroke:var(--c1)}.line-2{stroke:var(--c2)}.line-3{stroke:var(--c4)}
.keys i{display:inline-block;width:14px;height:3px;margin-right:7px;vertical-align:middle}
.key-1{background:var(--c1)}.key-2{background:var(--c2)}.key-3{background:var(--c4)}
.dot{fill:var(--blue);fill-opacity:.45}
.moments{display:grid;grid-template-columns:repeat(auto-fill,minmax(480px,1fr));gap:26px 30px}
.moment{margin:0;display:grid;grid-template-columns:auto minmax(0,1fr) auto;gap:3px 10px;align-items:center;
align-content:start}
.moment figcaption{grid-column:1/-1;display:flex;flex-direction:column;
font-size:13.5px;line-height:1.35;margin-bottom:4px}
.moment figcaption span,.moment .foot{color:var(--dim);font-size:12px}
.lane{position:relative;height:12px;background:var(--track);border-radius:3px;font-size:11px;line-height:12px}
.lane i{position:absolute;top:0;bottom:0;border-radius:3px;min-width:2px}
.lane i.true{background:var(--good)}.lane i.found{background:var(--blue)}.lane em{padding-left:8px;color:var(--dim)}
.seconds{position:relative;height:16px;font-size:11px;color:var(--dim)}
.seconds i{position:absolute;font-style:normal;transform:translateX(-50%);white-space:nowrap}
.seconds i:first-child{transform:none}
.tile.wrong{border-color:var(--mark)}.tile.wrong .right-mark{color:var(--mark)}.tile .clip .words{margin-top:5px}
@media(max-width:640px){main{padding:20px 14px}nav{margin:16px -14px 0;padding:8px 14px}
.pictures{grid-template-columns:1fr}.query header{flex-direction:column}.asked{max-width:100%}}
@media print{nav{display:none}section{break-inside:avoid-page}}
"""

SCRIPT = """
document.querySelectorAll(".screen video").forEach(function(video){
  var screen=video.parentNode;video.controls=false;video.tabIndex=0;video.setAttribute("role","button");
  if(!video.hasAttribute("aria-label"))video.setAttribute("aria-label","Play or pause the clip");
  function mark(){screen.classList.toggle("paused",video.paused)}
  function turn(){video.paused?video.play():video.pause()}
  video.addEventListener("click",turn);
  video.addEventListener("keydown",function(event){
    if(event.key===" "||event.key==="Enter"){event.preventDefault();turn()}
  });
  video.addEventListener("play",mark);video.addEventListener("pause",mark);mark()
});
document.addEventListener("play",function(event){
  document.querySelectorAll("video,audio").forEach(function(other){if(other!==event.target)other.pause()})
},true)
"""
