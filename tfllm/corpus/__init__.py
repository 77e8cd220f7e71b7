"""Files of a corpus: finding, decompressing and reading them. Tokenizers, token stores and labelled data share it."""
