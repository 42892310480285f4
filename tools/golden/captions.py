"""Make the golden files of caption metrics: scores of invented captions by the reference programs.

    pip install pycocoevalcap tqdm            # in a separate environment; needs Java 8 or newer on the PATH
    git clone https://github.com/vrama91/cider
    git clone https://github.com/fujiso/SODA
    git clone https://github.com/ranjaykrishna/densevid_eval
    python tools/golden/captions.py --cider cider --soda SODA --densevid densevid_eval

It writes, into `tests/evaluation/metrics/golden/`:

- `caption_words.json`: captions and their words from Stanford's tokeniser, as the COCO caption evaluation runs it;
- `caption_scores.json`: sets of clips with BLEU, ROUGE-L, CIDEr-D and METEOR by pycocoevalcap and CIDEr by its authors'
  code, whose `Cider` is the plain one and whose `CiderD` agrees with pycocoevalcap's `Cider` (checked here);
- `dense_captions.json`: videos with SODA_c, METEOR of the pairs that SODA_c compares, and the ActivityNet Captions
metrics.

The clones were at f281464, 9cb3e2c and 9d4045a, pycocoevalcap at 1.2. The first and the last clone are Python 2; the
few lines that Python 3 refuses are rewritten on loading. All captions are invented here; none is from a dataset.
"""

import argparse
import contextlib
import io
import json
import os
import random
import re
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

TARGET = Path(__file__).parents[2] / "tests" / "evaluation" / "metrics" / "golden"

TRICKY = r"""
a man is riding a horse
A man is riding a horse.
A MAN IS RIDING A HORSE!
the man, the dog, and the cat; they play: badly
Wait... what.. no.... yes . . . ok … done.
hello!! what?? really?! wow!!!
I don't think it's John's dog, can't you see? They won't, shan't, and needn't.
DON'T CAN'T IT'S WE'LL dont cant im
I'm sure you're right and they've said he'd go; she'll see.
don’t it’s she’ll o’clock O’Brien d’Artagnan the dogs’ bowls
should've would've wouldn't've who's that'd there'll I'd've
cannot gonna gotta wanna lemme gimme dunno
'tis the season 'twas the night, rock 'n' roll, get 'em, 'til dawn, 'cause I say so
it is five o'clock ma'am, o'er the hill, ne'er again, c'mon, y'all
the '90s and the 1990's and the 90's, '85 was good
a well-known t-shirt, a 5-year-old, twenty-one x-rays, man--woman man - woman man -- woman
an em—dash, an en–dash, a minus−sign
$5 $5.99 £5 €5 ¥100 5¢ 100% 3,000 3.5 .5 1/2 ½ 3/4 10:30 10:30am 5pm 1st 2nd
US$5 A$5 $1,000.50 $20-$30 -5 +5 5-6 1990-1995 555-1234 (555) 123-4567
he is 6'2" tall, 5'10 or 12" long, 5ft, 100m, 2.5kg, 4.5-inch, 10-ft, 1,000-foot
1,2,3 1, 2 1.2.3 2:1 1:2:3 10:30 p.m. 12/25/2010 2010-10-12 24/7 9/11
e.g. a dog, i.e. a cat, etc. and so on vs. the others, et al.
Mr. Smith, Mrs. Jones, Dr. Who, St. John, Prof. X, Gen. Lee, Jr. and Sr. of Acme Inc. and Foo Co. Ltd. Corp.
the U.S. and the U.K., the U.S.A., L.A., D.C., N.Y. at 7 a.m. or 8 p.m.
in the U.S. The man
J.R.R. Tolkien, Ph.D., M.D., B.A.
Jan. Feb. Mar. Apr. Jun. Jul. Aug. Sept. Oct. Nov. Dec. x
jan. feb. mon. tue. wed. thu. fri. sat. sun. x
calif. fla. ga. tenn. tex. mass. Mass. Tex. Wash. wash. Miss. miss. ill. Ill. x
no. 5 No. 7 nos. 1 fig. 3 pp. 4 art. 9 no. five vol. 5 p. 5
ave. blvd. rd. st. bldg. dept. assn. univ. ft. mt. x
approx. min. max. in. oz. lb. tbsp. sec. hr. km. cm. x
a. b. c. man. dog. A. B. C.
grade b. The dog, grade b. the dog, plan A. A man
the man.the dog, a woman.A dog, what?he, no!yes, foo.com, 3.The, 7a.m.
the man. He runs. She sits.It barks.
"quoted" 'single' ``tex'' “smart” ‘smart’ «french» ‹s› `a`
"A man," he said, "is riding a horse."
a "b c" d ''e'' '"f"' "'g'"
(parens) [brackets] {braces} <angle> <b>bold</b> <br> < 3 <3
(a) (the man) 1) 2) a) (1) (i.e. a dog) (US) f(x,y)
a man (in a hat) [left] and a dog
a * b ~ c ^ d _ e _f_ g+h a=b a|b a\b a<b a>b
** *** ## ### == ~~ ^^ || ++ %% && @@ $$ // \\ << >>
_ __ ___ ____ snake_case a_b_c _a a_ person_1
- -- --- ---- ----- -a a- -a-b- a--b a---b
#hashtag @user @a1 #1 # a user@mail.com http://www.foo.com/a?b=1 https://foo.org/x www.foo.com file.txt
and/or he/she w/ w/o s/he a/b/c 1/2-inch /a a/ a//b a/an
b&w R&B AT&T H&M's m&m's &amp; &lt; &gt; &quot;a&quot; it&apos;s a &mdash; b & c
a cat 🐱 and a dog🐶 😀 ❤ ☺ ★ ♥ → © ® ™ ° 5°C m² x³
:) :-( ;) :D :P =) :'( ^_^
café naïve Zürich São Paulo fiancée jalapeño piñata coup d'état hors d'oeuvres l'amour
日本語 한국어 Привет мир Ελληνικά שלום مرحبا
e\u0301te\u0301 cafe\u0301
¿qué? ¡hola! señor
a,b a, b a ,b ,a a, 1,000,000 a.,b dog., dog.; dog.:
man. man, man; man: man! man? man) man] man" man'
James' dog, James's dog, the dogs' dog, a boss's hat, 80's-style, men's, cat's-eye
goin' fishin', lil' guy, ol' man, li'l one, jack-o'-lantern, jack-o-lantern, s'mores, x'mas
can't-miss, don't-care, o'neil's, non-u.s., u.s.-based, pre-1990, mid-1990s
the man  and   the	woman
 leading and trailing 
.
...
!
'
"
-

a
I
A.
5
5.
😀
man.'s Mr.'s u.s.'s e.g.'s
-LRB- a man -RRB-
<unk> a <unk> man [UNK] <start> <end> <pad>
the top 10 things: #1 dogs, #2 cats
2nd 3rd 4th 21st 1st. 2nd. 5th,
x-ray, X-ray, U-turn, T-bone, e-mail, re-enter, co-op, up-to-date, state-of-the-art
man/woman, black/white/red, 50/50, mother-in-law/sister-in-law
3D 2D 4x4 1080p HD 4K 5G B2B MP3 mp4 H2O
wow!he's he.she's it's.x don't.x
etc., etc.) etc." (etc.)
a man w/ a hat; a woman w/o one
A man... A woman... ...and a dog
"""

PEOPLE = ["a man", "a woman", "two girls", "a boy in a red t-shirt", "the chef", "a group of people", "an old couple"]
VERBS = [
    "is riding",
    "rides",
    "is slicing",
    "are playing with",
    "jumps over",
    "is holding",
    "walks past",
    "doesn't see",
]
THINGS = [
    "a horse",
    "an onion",
    "a guitar",
    "the dog's ball",
    "a 5-year-old car",
    "his bike",
    "a wall",
    "the U.S. flag",
]
PLACES = ["on a beach", "in the kitchen", "down the street", "at 10:30 a.m.", "in front of a crowd", "near a lake", ""]
ENDS = ["", ".", ".", "!", " ."]


def sentence(draw: random.Random) -> str:
    parts = [draw.choice(some) for some in (PEOPLE, VERBS, THINGS, PLACES)]
    if draw.random() < 0.2:
        parts += ["and", draw.choice(PEOPLE).lower(), "watches"]
    text = re.sub(" +", " ", " ".join(parts)).strip() + draw.choice(ENDS)
    return text[0].upper() + text[1:] if draw.random() < 0.5 else text


def varied(sentence: str, draw: random.Random) -> str:
    """Return the sentence with a word left out, doubled, moved or replaced."""
    words = sentence.split()
    for _ in range(draw.randint(0, 3)):
        at = draw.randrange(len(words))
        change = draw.choice(["drop", "double", "swap", "replace"])
        if change == "drop" and len(words) > 1:
            del words[at]
        elif change == "double":
            words.insert(at, words[at])
        elif change == "swap":
            other = draw.randrange(len(words))
            words[at], words[other] = words[other], words[at]
        else:
            words[at] = draw.choice(["dog", "blue", "the", "slowly", "guitar", "very", "table"])
    return " ".join(words)


def tricky_captions(draw: random.Random) -> list[str]:
    """Return the list above, joined parts of it, and plain sentences."""
    lines = [line.replace("\\u0301", "\u0301") for line in TRICKY.split("\n")]
    pieces = sorted({piece for line in lines for piece in line.split(" ") if piece})
    mixed = []
    for _ in range(200):
        words = sentence(draw).split()
        for _ in range(draw.randint(1, 2)):
            words.insert(draw.randrange(len(words)), draw.choice(pieces))
        mixed.append(" ".join(words))
    # There, a single letter and a stop at a caption's end is read with the next caption in view; here no sentence
    # opener follows one.
    return [*lines, *mixed, *(sentence(draw) for _ in range(100)), ""]


def tokenise(captions: list[str]) -> list[list[str]]:
    """Return the words of all captions by one run of the Java program."""
    asked = {number: [{"caption": caption}] for number, caption in enumerate(captions)}
    answer = PTBTokenizer().tokenize(asked)
    return [answer.get(number, [""])[0].split() for number in range(len(captions))]


def score_sets(draw: random.Random) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Return predictions and references of several sets of clips, including edge cases."""

    def clips(number: int, references: tuple[int, int]) -> tuple[list[str], list[list[str]]]:
        predicted, right = [], []
        for _ in range(number):
            first = sentence(draw)
            right.append([varied(first, draw) for _ in range(draw.randint(*references))])
            predicted.append(draw.choice([varied(first, draw), sentence(draw), draw.choice(right[-1])]))
        return predicted, right

    many, one = clips(50, (1, 6)), clips(20, (1, 1))
    many[0][3], many[0][7], many[1][9][0] = "", "...", ""
    many[0][11], many[0][12] = "a", "a a a a a a a a a a a a a a a"
    same = clips(6, (2, 2))
    return {
        "many references": many,
        "one reference": one,
        "identical": ([right[0] for right in same[1]], [[right[0]] * 2 for right in same[1]]),
        "all alike": (["a man rides a horse"] * 4, [["a man rides a horse", "a horse"]] * 4),
        "one clip": (["a man rides a horse"], [["a man is riding a horse", "a person on a horse"]]),
        "nothing said": (["", ""], [["a dog runs"], ["", "a cat"]]),
        "nothing right": (["zebra", "xylophone music"], [["a dog runs"], ["the cat sleeps now"]]),
    }


def authors_cider(folder: Path, name: str) -> type:
    """Return `Cider` or `CiderD` of the authors' code, rewritten for Python 3."""
    module = types.ModuleType(name)
    scorer = (folder / "pyciderevalcap" / name / f"{name}_scorer.py").read_text()
    whole = (folder / "pyciderevalcap" / name / f"{name}.py").read_text()
    source = scorer.replace("xrange", "range").replace("iteritems", "items")
    exec(source + re.sub(r"^from cider.*$", "", whole, flags=re.MULTILINE), module.__dict__)
    return module.__dict__[name[0].upper() + name[1:]]


def scores(predicted: list[list[str]], right: list[list[list[str]]], meteor: Meteor, cider_folder: Path) -> dict:
    gts = {n: [" ".join(words) for words in its] for n, its in enumerate(right)}
    res = {n: [" ".join(words)] for n, words in enumerate(predicted)}
    asked = [{"image_id": n, "caption": caption} for n, caption in res.items()]
    bleu, bleu_clips = Bleu(4).compute_score(gts, res, verbose=0)
    values = {f"bleu_{n + 1}": [bleu[n], *bleu_clips[n]] for n in range(4)}
    for name, (whole, each) in {
        "rouge_l": Rouge().compute_score(gts, res),
        "cider_d": Cider().compute_score(gts, res),
        "cider": authors_cider(cider_folder, "cider")().compute_score(gts, asked),
        "meteor": meteor.compute_score(gts, res),
    }.items():
        values[name] = [float(whole), *map(float, each)]
    theirs = authors_cider(cider_folder, "ciderD")().compute_score(gts, asked)
    np.testing.assert_allclose([theirs[0], *theirs[1]], values["cider_d"], rtol=0, atol=1e-12)
    return values


def dense_videos(draw: random.Random) -> tuple[dict, list[dict]]:
    """Return predicted events and those of two annotators for nine videos; one annotator leaves two out."""
    predicted, annotators = {}, [{}, {}]
    for number in range(9):
        name, length = f"v_{number}", draw.uniform(20, 180)
        for annotator in annotators:
            starts = sorted(draw.uniform(0, length * 0.8) for _ in range(draw.randint(2, 6)))
            events = [(round(s, 2), round(draw.uniform(s + 2, length), 2), sentence(draw)) for s in starts]
            annotator[name] = {"timestamps": [e[:2] for e in events], "sentences": [e[2] for e in events]}
        source = draw.choice(annotators)[name]
        some = list(zip(source["timestamps"], source["sentences"], strict=True))
        predicted[name] = []
        for (start, end), text in draw.sample(some, draw.randint(1, len(some))):
            at = (round(max(0, start + draw.gauss(0, 3)), 2), round(end + abs(draw.gauss(0, 3)), 2))
            predicted[name].append({"timestamp": at, "sentence": varied(text, draw)})
        predicted[name].append({"timestamp": (0.0, round(length / 7, 2)), "sentence": sentence(draw) + " café"})
    for missing in ("v_3", "v_5"):
        del annotators[1][missing]
    return predicted, annotators


def soda(folder: Path, predicted: dict, annotators: list[dict]) -> dict[str, list[float]]:
    """Return precision, recall and F of SODA_c with the best annotator."""
    sys.path.insert(0, str(folder))
    from dataset import ANETCaptions
    from soda import SODA

    preds = {name: sorted(events, key=lambda e: e["timestamp"][0]) for name, events in predicted.items()}
    data = ANETCaptions(preds, json.loads(json.dumps(annotators)), list(predicted))
    data.preprocess()
    return {"soda_c": [float(value) for value in SODA(data, soda_type="c", scorer="Meteor").evaluate()["Meteor"]]}


def densevid(folder: Path, predicted: dict, annotators: list[dict], scratch: Path) -> dict[str, list[float]]:
    """Return every metric of the ActivityNet Captions evaluator at its four thresholds."""
    source = (folder / "evaluate.py").read_text()
    source = re.sub(r"^(\s*)print .*$", r"\1pass", source, flags=re.MULTILINE)
    source = source.replace("xrange", "range").replace("from sets import Set", "Set = set")
    source = source.replace("all_scores.values()", "list(all_scores.values())")
    source = re.sub(r"^\s*sys\.path.*$", "", source, flags=re.MULTILINE)
    module = types.ModuleType("densevid")
    exec(source, module.__dict__)
    truth = [scratch / f"annotator_{number}.json" for number in range(len(annotators))]
    for path, annotator in zip(truth, annotators, strict=True):
        path.write_text(json.dumps(annotator))
    said = scratch / "predicted.json"
    said.write_text(json.dumps({"results": predicted, "version": "", "external_data": {}}))
    random.seed(0)
    evaluator = module.ANETcaptions(truth, said, tious=[0.3, 0.5, 0.7, 0.9], verbose=True)
    evaluator.evaluate()
    return {name: [float(value) for value in values] for name, values in evaluator.scores.items()}


def meteor_table(predicted: dict, annotators: list[dict], meteor: Meteor) -> list[list]:
    """Return METEOR of every pair in a video: the true caption is the hypothesis, the predicted one the reference."""

    def words(text: str) -> str:
        return "".join(letter if ord(letter) < 128 else " " for letter in text)

    pairs = [
        (words(true), words(event["sentence"]))
        for name, events in predicted.items()
        for annotator in annotators
        for true in annotator.get(name, {"sentences": []})["sentences"]
        for event in events
    ]
    flat = tokenise([text for pair in pairs for text in pair])
    pairs = sorted({(" ".join(a), " ".join(b)) for a, b in zip(flat[::2], flat[1::2], strict=True)})
    gts, res = {n: [b] for n, (_, b) in enumerate(pairs)}, {n: [a] for n, (a, _) in enumerate(pairs)}
    return [[*pair, value] for pair, value in zip(pairs, meteor.compute_score(gts, res)[1], strict=True)]


def write(name: str, value: object) -> None:
    path = TARGET / name
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{path}: {path.stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("cider", "soda", "densevid"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="folder of the clone")
    folders = parser.parse_args()
    # Java's default characters follow the locale; the captions are UTF-8.
    os.environ["JAVA_TOOL_OPTIONS"] = "-Dfile.encoding=UTF-8 -Dstdout.encoding=UTF-8"
    TARGET.mkdir(parents=True, exist_ok=True)
    draw, meteor = random.Random(4), Meteor()
    captions = tricky_captions(draw)
    write("caption_words.json", [list(pair) for pair in zip(captions, tokenise(captions), strict=True)])

    sets = {}
    for name, (predicted, right) in score_sets(draw).items():
        flat = iter(tokenise([*predicted, *(text for its in right for text in its)]))
        words = [next(flat) for _ in predicted]
        references = [[next(flat) for _ in its] for its in right]
        values = scores(words, references, meteor, folders.cider)
        sets[name] = {"predicted": predicted, "references": right, "scores": values}
    write("caption_scores.json", sets)

    predicted, annotators = dense_videos(draw)
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as scratch:
        values = soda(folders.soda.resolve(), json.loads(json.dumps(predicted)), annotators)
        values |= densevid(folders.densevid, predicted, annotators, Path(scratch))
    table = meteor_table(predicted, annotators, meteor)
    write(
        "dense_captions.json",
        {"predicted": predicted, "annotators": annotators, "scores": values, "meteor": table},
    )


if __name__ == "__main__":
    main()
