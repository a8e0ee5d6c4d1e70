"""A drawn stand-in for CASME II, in its own folder and column layout, with known true motion."""

from casme_tf.synthetic.corpus import Corpus, open_corpus, synthesize, true_flow
from casme_tf.synthetic.schedule import oracle_accuracy

__all__ = ["Corpus", "open_corpus", "oracle_accuracy", "synthesize", "true_flow"]
