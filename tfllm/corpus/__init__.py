"""Files of a corpus, found and read: one way for tokenizers, token stores and labelled data."""
