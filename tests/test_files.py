import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from casme_tf.errors import UserError
from casme_tf.files import atomic_file, atomic_folder, explain_write_errors, locked


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_file_appears_when_the_block_is_done(tmp_path):
    path = tmp_path / "made" / "a.csv"
    with atomic_file(path) as temporary:
        assert temporary.suffix == ".csv"
        assert temporary.parent == path.parent
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["made", "made/a.csv"]


def test_file_stays_as_it_was_when_the_block_fails(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")

    def fail_half_way():
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.csv"]


def test_full_disk_is_a_user_error_that_names_the_file(tmp_path):
    path = tmp_path / "a.csv"
    message = r"a\.csv must be writable.*No space left"
    with pytest.raises(UserError, match=message), atomic_file(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


def test_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="must be writable"), atomic_file(tmp_path / "taken/a"):
        pytest.fail("must not be entered")


def test_folder_appears_when_the_block_is_done(tmp_path):
    path = tmp_path / "made" / "run"
    with atomic_folder(path) as temporary:
        (temporary / "a").write_text("new")
        assert not path.exists()
    assert names(tmp_path) == ["made", "made/run", "made/run/a"]
    assert path.stat().st_mode & 0o777 == 0o755


def test_folder_stays_as_it_was_when_the_last_step_fails(tmp_path, monkeypatch):
    path = tmp_path / "run"
    path.mkdir()
    (path / "old").write_text("")
    rename = Path.rename

    def rename_but_not_the_new_folder(self, target):
        if Path(target) == path and not self.name.endswith(".old"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_but_not_the_new_folder)
    with pytest.raises(UserError, match="must be writable"), atomic_folder(path, overwrite=True):
        pass
    assert names(tmp_path) == ["run", "run/old"]


def test_existing_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="--overwrite"), atomic_folder(tmp_path):
        pytest.fail("must not be entered")


def test_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "old").write_text("")
    with atomic_folder(path, overwrite=True) as temporary:
        (temporary / "new").write_text("")
        assert names(path) == ["old"]
    assert names(tmp_path) == ["run", "run/new"]


def test_folder_stays_as_it_was_when_the_block_fails(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "old").write_text("")

    def fail_half_way():
        with atomic_folder(path, overwrite=True) as temporary:
            (temporary / "new").write_text("")
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert names(tmp_path) == ["run", "run/old"]


def test_other_errors_are_not_explained_away(tmp_path):
    with pytest.raises(ZeroDivisionError), explain_write_errors(tmp_path):
        raise ZeroDivisionError


def test_one_at_a_time_makes_a_path(tmp_path):
    path = tmp_path / "runs" / "flow"
    code = (
        "import sys\nfrom pathlib import Path\nfrom casme_tf.files import locked\n"
        "from casme_tf.errors import UserError\n"
        "try:\n    with locked(Path(sys.argv[1])):\n        print('free')\n"
        "except UserError as error:\n    print(error)\n"
    )

    def other() -> str:
        command = [sys.executable, "-c", code, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with locked(path):
        assert "made by one command at a time" in other()
    assert not (tmp_path / "runs").exists()  # nothing came of it
    assert other() == "free\n"
    with locked(path):
        path.mkdir()
    assert names(tmp_path) == ["runs", "runs/flow"]
