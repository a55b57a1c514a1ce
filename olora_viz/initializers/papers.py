"""The titles of the papers that are the sources of initializations."""

TITLES = {
    "0909.4061": "Finding structure with randomness: Probabilistic algorithms for constructing approximate matrix "
    "decompositions",
    "1810.04805": "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
    "2106.09685": "LoRA: Low-Rank Adaptation of Large Language Models",
    "2404.02948": "PiSSA: Principal Singular Values and Singular Vectors Adaptation of Large Language Models",
    "2406.01775": "OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models",
    "2406.05223": "CorDA: Context-Oriented Decomposition Adaptation of Large Language Models for Task-Aware "
    "Parameter-Efficient Fine-tuning",
    "2406.09044": "MiLoRA: Harnessing Minor Singular Components for Parameter-Efficient LLM Finetuning",
    "2407.05000": "LoRA-GA: Low-Rank Adaptation with Gradient Approximation",
    "2410.07170": "One Initialization to Rule them All: Fine-tuning via Explained Variance Adaptation",
    "2502.01235": "LoRA-One: One-Step Full Gradient Could Suffice for Fine-Tuning Large Language Models, Provably and "
    "Efficiently",
    "2503.02659": "LoRA-Null: Low-Rank Adaptation via Null Space for Large Language Models",
    "2505.23194": "Beyond Zero Initialization: Investigating the Impact of Non-Zero Initialization on LoRA "
    "Fine-Tuning Dynamics",
    "2510.24561": "LoRA-DA: Data-Aware Initialization for Low-Rank Adaptation via Asymptotic Analysis",
    "2604.01694": "MiCA Learns More Knowledge Than LoRA and Full Fine-Tuning",
    "2606.31813": "Geometry-Preserving Orthonormal Initialization for Low-Rank Adaptation in RLVR",
    "math-ph/0609050": "How to generate random matrices from the classical compact groups",
    "Numerische Mathematik 7": "Linear least squares solutions by Householder transformations",
}
"""By the number of arXiv, or the journal, in the `source` of an `Initializer`."""
