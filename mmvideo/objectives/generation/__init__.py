"""Generation of text: settings, beam search, questions and answers."""
