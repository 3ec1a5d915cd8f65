import pytest

from archsr.atomic import replacing, replacing_folder, write_bytes


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_bytes(b"ne")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "set"
    with replacing_folder(path) as folder:
        (folder / "one").write_text("1")
    with pytest.raises(RuntimeError), replacing_folder(path) as folder:
        (folder / "two").write_text("2")
        raise RuntimeError
    assert [p.name for p in path.iterdir()] == ["one"]
    with replacing_folder(path) as folder:
        (folder / "three").write_text("3")
    assert [p.name for p in path.iterdir()] == ["three"]
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
