"""Distil a small base from sentence encoders: how ``checkpoints/base`` was made.

python -m emoji_gpt2.distill --config configs/base.yaml ...   # the file has the whole command

``texts`` and ``mood`` say what is read, ``encoders`` and ``teacher`` what the right answer is,
``data`` and ``dataset`` make rows and batches of both, ``student`` is the model that is trained.
Nobody needs this to use or to fine-tune the base.
"""
