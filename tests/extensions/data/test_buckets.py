"""Properties of the bucket rule."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.data.buckets import (
    SD2_AREA,
    SDXL_AREA,
    STANDIN_AREA,
    bucket_resolutions,
    choose_bucket,
    cover,
    historical,
)

AREAS = st.integers(64 * 64, 1536 * 1536)
SIZES = st.tuples(st.integers(1, 9000), st.integers(1, 9000))


@given(AREAS)
def test_sides_area_order_and_symmetry(area):
    buckets = bucket_resolutions(area)
    assert buckets == sorted(set(buckets))
    assert all(w % 64 == 0 and h % 64 == 0 and w * h <= area for w, h in buckets)
    assert {(h, w) for w, h in buckets} == set(buckets)


@pytest.mark.parametrize("area", [SDXL_AREA, SD2_AREA, STANDIN_AREA])
def test_square_is_a_bucket(area):
    assert (math.isqrt(area),) * 2 in bucket_resolutions(area)


@given(SIZES, AREAS)
def test_no_bucket_is_nearer(size, area):
    buckets = bucket_resolutions(area)
    ratio = math.log(size[0] / size[1])
    chosen = choose_bucket(size, buckets)
    best = min(abs(ratio - math.log(w / h)) for w, h in buckets)
    assert abs(ratio - math.log(chosen[0] / chosen[1])) == pytest.approx(best, abs=1e-9)
    assert choose_bucket(size, buckets[::-1]) == chosen


@given(SIZES, st.sampled_from(bucket_resolutions(STANDIN_AREA)))
def test_crop_is_the_bucket_inside_the_resized_image(size, bucket):
    (width, height), (left, top, right, bottom) = cover(size, bucket)
    assert (right - left, bottom - top) == bucket
    assert 0 <= left <= right <= width and 0 <= top <= bottom <= height
    assert width == bucket[0] or height == bucket[1]
    assert abs((width - right) - left) <= 1 and abs((height - bottom) - top) <= 1


def test_impossible_wishes_are_user_errors():
    with pytest.raises(UserError):
        bucket_resolutions(4095)
    with pytest.raises(UserError):
        choose_bucket((0, 5), [(64, 64)])


def test_the_recorded_sets_have_25_buckets():
    rule = historical(SDXL_AREA)
    assert len(rule.buckets) == 25 and {max(bucket) for bucket in rule.buckets} == {1024}
    assert {side for bucket in rule.buckets for side in bucket} == set(range(256, 1025, 64))
    assert rule.bucket((1000, 1500)) == (704, 1024) and rule.bucket((5000, 1000)) == (1024, 256)


@pytest.mark.parametrize("area", [SDXL_AREA, SD2_AREA])
def test_historical_sides_and_area(area):
    buckets = historical(area).buckets
    assert all(w % 64 == 0 and h % 64 == 0 and w * h <= area and min(w, h) >= 256 for w, h in buckets)
    assert {(h, w) for w, h in buckets} == set(buckets) and (math.isqrt(area),) * 2 in buckets


@pytest.mark.upstream
@pytest.mark.parametrize("side", [1024, 768])
def test_the_historical_rule_is_upstreams(patched, side):
    """As its prepare_buckets_latents.py calls it, with the defaults of its flags."""
    from library.train_util import BucketManager

    manager = BucketManager(False, (side, side), 256, 1024, 64)
    manager.make_buckets()
    rule = historical(side * side)
    assert rule.buckets == manager.predefined_resos
    draw = random.Random(1)
    sizes = [(draw.randint(1, 6000), draw.randint(1, 6000)) for _ in range(3000)]
    for size in [*sizes, *rule.buckets, *((w * 3, h * 3) for w, h in rule.buckets)]:
        bucket, *_ = manager.select_bucket(*size)
        assert rule.bucket(size) == tuple(bucket)


def test_no_bucket_for_no_image():
    with pytest.raises(UserError):
        historical(SDXL_AREA).bucket((0, 5))
