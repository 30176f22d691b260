"""Distil a small base from a sentence-embedding model: how ``checkpoints/base`` was made.

python -m emoji_gpt2.distill --config configs/base.yaml --data.teacher FOLDER --data.wordnet FOLDER

``texts`` says what is read, ``teacher`` what the right answer is, ``data`` makes batches of both,
``student`` is the model that is trained. Nobody needs this to use or to fine-tune the base.
"""
