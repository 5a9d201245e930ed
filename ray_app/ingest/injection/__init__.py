"""Text on a page that gives orders to a language model, and how it is told from what manuals say to people.

The index feeds its passages to a model, so whoever writes a page can try to give that model orders. Nothing such is
ever told to a reader, which is how it is noticed: by ``signals``, patterns with weights, in English (``orders``,
``outputs``) and in other languages (``tongues``). They are looked for in ``reading``s of the text: as it stands, and as
a model would understand it that sees through accents, look-alike letters, spacing and codes. ``suspects`` says which
texts are worth that effort, ``screen`` scores those and takes them out.

A score is a judgement of one text, 0..1, as ``screen`` tells; it is no probability.
"""
