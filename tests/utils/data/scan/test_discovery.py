"""Images of folders and list files, each real file once, and the label file of each."""

import os

import pytest

from utils.data.scan.discovery import find_images, label_path, read_list_file
from utils.errors import DataError


@pytest.fixture
def touch(tmp_path):
    def touch(name, content=b""):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    return touch


def test_folders_are_searched_recursively_and_sorted(touch, tmp_path):
    expected = [touch("images/a/2.PNG"), touch("images/b.jpeg"), touch("images/c/d/1.webp")]
    touch("images/a/notes.txt")
    touch("images/a/.hidden.jpg")
    touch("images/.cache/3.jpg")
    touch("images/jpg")

    assert find_images([tmp_path / "images"]) == sorted(expected)


def test_brackets_and_stars_in_names_are_nothing_special(touch, tmp_path):
    expected = [touch("set [1]*/images/a[0]?.jpg"), touch("set [1]*/images/b.jpg")]

    assert find_images([tmp_path / "set [1]*" / "images"]) == expected


def test_a_folder_called_like_an_image_is_a_folder(touch, tmp_path):
    expected = touch("images/x.jpg/1.jpg")

    assert find_images([tmp_path / "images"]) == [expected]


def test_a_loop_of_links_ends_and_adds_nothing(touch, tmp_path):
    expected = [touch("images/train/1.jpg"), touch("images/train/2.jpg")]
    (tmp_path / "images/train/again").symlink_to(tmp_path / "images", target_is_directory=True)

    assert find_images([tmp_path / "images"]) == expected


def test_a_linked_folder_keeps_its_name_as_written(touch, tmp_path):
    touch("pool/1.jpg")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "train").symlink_to(tmp_path / "pool", target_is_directory=True)

    (image,) = find_images([tmp_path / "images" / "train"])

    assert image == str(tmp_path / "images/train/1.jpg")
    assert label_path(image) == str(tmp_path / "labels/train/1.txt")


class _Entry:
    """A file as the listing of some file systems has it: with another inode than the file's own."""

    def __init__(self, entry, inode):
        self._entry, self._inode = entry, inode

    def __getattr__(self, name):
        return getattr(self._entry, name)

    def __fspath__(self):
        return self._entry.path

    def inode(self):
        return self._inode


@pytest.mark.parametrize("name_inode", [lambda number: 0xFFFFFFFF, lambda number: number], ids=["one", "others"])
def test_a_file_system_that_lists_wrong_inodes_loses_no_image(touch, tmp_path, monkeypatch, name_inode):
    """FUSE lists the same one for all files; then nothing but asking tells files apart, and links from files."""
    files = [touch(f"images/{name}.jpg") for name in "abc"]
    os.link(files[0], tmp_path / "images/d.jpg")
    (tmp_path / "images/e.jpg").symlink_to(files[1])
    listed = os.scandir
    monkeypatch.setattr(
        os, "scandir", lambda path: [_Entry(entry, name_inode(number)) for number, entry in enumerate(listed(path))]
    )
    assert find_images([tmp_path / "images"]) == files


def test_hard_links_of_one_folder_are_one_image(touch, tmp_path):
    real = touch("images/a.jpg")
    os.link(real, tmp_path / "images/b.jpg")
    assert find_images([tmp_path / "images"]) == [real]


def test_a_file_and_a_link_to_it_count_once_under_the_name_of_the_file(touch, tmp_path, caplog):
    real = touch("images/z.jpg")
    (tmp_path / "images" / "a.jpg").symlink_to(real)

    assert find_images([tmp_path / "images"]) == [real]
    assert "1 paths lead to images that were already found" in caplog.text


def test_list_entries_are_relative_to_the_list_file(touch, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    expected = [touch("images/1.jpg"), touch("images/2.jpg"), touch("other/3.jpg")]
    content = f"\ufeff# my list\r\n./images/1.jpg\r\n\r\nimages/2.jpg\n{expected[2]}\nimages/1.jpg\nreadme.md\n"
    listed = touch("lists/../train.txt", content.encode())

    assert find_images([listed]) == expected


def test_a_list_written_on_windows_is_read_on_linux(touch, tmp_path):
    expected = [touch("images/0.jpg"), touch("images/a\\b.jpg")]
    listed = touch("train.txt", b".\\images\\0.jpg\r\nimages/a\\b.jpg\r\n")

    assert find_images([listed]) == expected


@pytest.mark.parametrize("prefix", ["data/", "./data/", "data\\"])
def test_the_folder_that_cvat_writes_in_front_is_left_out_where_it_does_not_exist(touch, prefix):
    expected = touch("obj_train_data/a.jpg")
    listed = touch("train.txt", f"{prefix}obj_train_data/a.jpg\n".encode())

    assert find_images([listed]) == [expected]
    inside = touch("data/obj_train_data/a.jpg")
    assert find_images([listed]) == [inside]


def test_rows_of_a_list_may_end_in_a_carriage_return(touch):
    expected = [touch("a.jpg"), touch("b.jpg")]

    assert find_images([touch("train.txt", b"a.jpg\rb.jpg\r")]) == expected


def test_a_list_entry_that_leaves_the_folders_is_refused_with_its_line(touch, tmp_path):
    touch("set/images/1.jpg")
    outside = touch("other/2.jpg")
    listed = touch("set/train.txt", f"images/1.jpg\n{outside}\n../other/2.jpg\n".encode())

    with pytest.raises(DataError) as caught:
        find_images([listed], fence=[tmp_path / "set"])

    assert f"train.txt:2: 2 of 3 entries leave the data set; the first is {outside}" in caught.value.what
    assert "allow_outside: true" in caught.value.fix
    assert len(find_images([listed], fence=[tmp_path / "set", tmp_path / "other"])) == 2
    assert len(find_images([listed])) == 2


def test_a_linked_folder_is_inside(touch, tmp_path):
    expected = touch("pool/1.jpg")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "images").symlink_to(tmp_path / "pool", target_is_directory=True)
    (tmp_path / "same").symlink_to(tmp_path / "set", target_is_directory=True)
    listed = touch("set/train.txt", f"images/1.jpg\n{tmp_path}/set/images/1.jpg\n".encode())

    (image,) = find_images([listed], fence=[tmp_path / "same"])

    assert image == str(tmp_path / "set/images/1.jpg") != expected


def test_list_lines_are_counted_as_in_an_editor(touch, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("# first\n\na.jpg\n")

    assert read_list_file(listed) == [(3, tmp_path / "a.jpg")]


def test_a_binary_list_file_is_refused(touch):
    with pytest.raises(DataError, match=r"list\.txt: not UTF-8"):
        find_images([touch("list.txt", b"\xff\xfe\x00")])


def test_no_images_is_an_error_with_the_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()

    with pytest.raises(DataError, match=f"no images in {tmp_path / 'empty'}"):
        find_images(["empty"])


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("/d/images/train/a.jpg", "/d/labels/train/a.txt"),
        ("/images/d/images/a.b.jpg", "/images/d/labels/a.b.txt"),
        ("/d/my_images/a.jpg", "/d/my_images/a.txt"),
    ],
)
def test_the_last_images_folder_becomes_labels(image, label):
    assert label_path(image) == label
