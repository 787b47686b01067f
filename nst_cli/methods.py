"""The names and constants of nst's own style losses; `plugins` adds those of other packages."""

# β′ per method. It makes the gradients of style and content on the image similar in size
# (section 4 of the paper). The paper's four methods have the values of the authors' code; those
# of the others were measured by benchmarks/beta.py.
PAPER_BETA = {
    "linear": 2e3,
    "poly": 1e-1,
    "gaussian": 3e14,
    "bn": 1e3,
    "coral": 1e-1,
    "wasserstein": 4e2,
    "sliced": 9e2,
    "histogram": 8e2,
    "rbf": 3e14,
    "laplace": 4e14,
    "energy": 8e10,
    # That of gaussian, which is this loss on average. Its gradients are larger by the noise of
    # its draws, so by their size this would be 7e14.
    "fourier": 3e14,
    "cmd": 5e5,
    "remd": 9e5,
}
METHODS = tuple(PAPER_BETA)
#: What other programs and papers call a method; errors suggest ours.
ALSO_KNOWN_AS = {
    "gram": "poly",
    "polynomial": "poly",
    "mean": "linear",
    "mmd": "gaussian",
    "rff": "fourier",
    "adain": "bn",
    "batchnorm": "bn",
    "covariance": "coral",
    "w2": "wasserstein",
    "frechet": "wasserstein",
    "ot": "wasserstein",
    "swd": "sliced",
    "moments": "cmd",
    "strotss": "remd",
}
#: The methods of the paper, whose experiments compare them.
PAPER_METHODS = METHODS[:4]
#: The methods that random Fourier features can estimate, besides fourier itself.
BY_FOURIER = ("gaussian", "rbf", "laplace")
#: The options of the methods' losses, by field name.
METHOD_OPTIONS = {
    "poly": ("c",),
    "gaussian": ("estimator", "features"),
    "sliced": ("directions",),
    "rbf": ("kernels", "estimator", "features"),
    "laplace": ("estimator", "features"),
    "fourier": ("features",),
    "cmd": ("orders",),
    "remd": ("samples",),
}
