"""The cosine basis of images."""

import numpy
import pytest

from nst_cli import engine
from nst_cli.synthesis.basis import Cosines


def vector(values):
    return engine.array(values, engine.context("cpu"), "float64")


class TestCosines:
    SHAPE = (1, 3, 10, 14)

    @pytest.fixture
    def basis(self):
        return Cosines(engine.nd.zeros(self.SHAPE, ctx=engine.context("cpu"), dtype="float64"))

    def random(self, seed):
        return vector(numpy.random.RandomState(seed).normal(size=self.SHAPE))

    def test_the_gradient_is_the_adjoint_of_the_image(self, basis):
        one, other = self.random(1), self.random(2)
        left = (basis.image(one) * other).sum().asscalar()
        right = (one * basis.gradient(other)).sum().asscalar()
        assert left == pytest.approx(right, rel=1e-12)

    def test_it_is_a_scaled_orthonormal_transform(self, basis):
        unscaled = basis.image(self.random(3) / basis.scale)
        assert unscaled.norm().asscalar() == pytest.approx(self.random(3).norm().asscalar())

    def test_a_flat_image_is_one_coefficient_and_it_moves_most(self, basis):
        flat = basis.gradient(vector(numpy.ones(self.SHAPE))).asnumpy()
        assert numpy.count_nonzero(numpy.abs(flat[0, 0]) > 1e-9) == 1
        scale = basis.scale.asnumpy()[0, 0]
        assert scale[0, 0] == scale.max() and scale[-1, -1] == scale.min()

    def test_adapting_makes_all_bands_and_colours_equally_curved(self, basis):
        random = numpy.random.RandomState(4)
        bands = basis._bands
        by_band = random.uniform(0.3, 3, (3, bands.max() + 1))
        curvature = by_band[:, bands].ravel()
        steps = random.normal(size=(2, curvature.size))
        before = basis.scale.copy()
        factors = basis.adapt(
            [[vector(s)] for s in steps], [[vector(s * curvature)] for s in steps]
        )
        assert numpy.allclose((before * factors).asnumpy(), basis.scale.asnumpy())
        adapted = curvature * factors.asnumpy().ravel() ** 2
        assert adapted == pytest.approx(numpy.full(adapted.size, adapted[0]))

    def test_adapting_changes_no_band_by_more_than_a_factor_of_four(self, basis):
        steps = numpy.ones(numpy.prod(self.SHAPE))
        changes = numpy.where(numpy.arange(steps.size) % 14 < 3, 1e9, -1)
        factors = basis.adapt([[vector(steps)]], [[vector(changes)]]).asnumpy()
        assert 0.25 <= factors.min() < factors.max() <= 4

    def test_adapting_to_steps_that_measured_nothing_leaves_the_scale(self, basis):
        nothing = vector(numpy.zeros(numpy.prod(self.SHAPE)))
        assert (basis.adapt([[nothing]], [[nothing]]) == 1).asnumpy().all()
