"""Images below a folder, by parts that do not change when the set grows."""

from extensions.data import images


def listed(folder):
    found = images.find(folder)
    return {found.ids[int(i)].as_py(): part for part, chosen in found.parts() for i in chosen}


def test_parts_depend_on_the_id_alone(tmp_path, monkeypatch):
    for number in range(40):
        (tmp_path / f"{number}.png").touch()
    (tmp_path / ".hidden.png").touch()
    (tmp_path / "no.txt").touch()
    before = listed(tmp_path)
    assert set(before) == {str(number) for number in range(40)} and len(set(before.values())) > 20
    (tmp_path / "more").mkdir()
    for number in range(40, 60):
        (tmp_path / "more" / f"{number}.JPG").touch()
    monkeypatch.setattr(images, "CHUNK", 7)
    after = listed(tmp_path)
    assert len(after) == 60 and {key: after[key] for key in before} == before


def test_each_image_is_in_one_part_in_the_order_of_ids(tmp_path):
    for number in range(300):
        (tmp_path / f"x.{number}.webp").touch()
    found = images.find(tmp_path)
    parts = list(found.parts())
    assert sorted(int(i) for _, chosen in parts for i in chosen) == list(range(300))
    assert [part for part, _ in parts] == sorted({part for part, _ in parts})
    for _, chosen in parts:
        keys = [found.ids[int(i)].as_py() for i in chosen]
        assert keys == sorted(keys) and all(key.startswith("x.") for key in keys)
