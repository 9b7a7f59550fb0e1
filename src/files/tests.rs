use std::os::unix::fs::symlink;

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn write(path: &Path, mode: u32) {
    std::fs::write(path, "secret").expect("write");
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("a file").mode() & 0o7777
}

#[test]
fn a_secret_is_read_only_where_nobody_else_can_read_it() {
    let folder = folder();
    let path = folder.path().join("secret");
    for good in [0o600, 0o400] {
        write(&path, good);
        assert_eq!(&**read_secret(&path, Links::Refuse).expect("ours alone"), b"secret");
    }
    // Where we are root, the group is root's: that is the exception for root's files.
    let by_group = [0o640, 0o440].map(|mode| (mode, us() == 0));
    let by_others = [0o660, 0o650, 0o604, 0o644, 0o606, 0o601, 0o666, 0o777].map(|mode| (mode, false));
    for (mode, good) in by_group.into_iter().chain(by_others) {
        write(&path, mode);
        assert_eq!(read_secret(&path, Links::Refuse).is_ok(), good, "{mode:o}");
    }
}

#[test]
fn what_is_no_plain_file_is_refused_at_once() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("folder")).expect("a folder");
    let made = std::process::Command::new("mkfifo").args(["-m", "0600"]).arg(path("fifo")).status();
    assert!(made.expect("mkfifo").success());
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).expect("a socket");
    for name in ["folder", "fifo", "socket", "../../dev/null", "absent"] {
        let path = if name.contains("null") { PathBuf::from("/dev/null") } else { path(name) };
        for links in [Links::Follow, Links::Refuse] {
            let error = read_secret(&path, links).expect_err(name);
            assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
        }
        if name != "absent" {
            check_database(&path, true).expect_err(name);
            open_or_create(&path).expect_err(name);
        }
    }
}

#[test]
fn a_link_is_followed_only_where_the_operator_named_it() {
    let folder = folder();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    write(&file, 0o600);
    symlink(&file, &link).expect("a link");
    assert!(read_secret(&link, Links::Follow).is_ok());
    assert!(matches!(read_secret(&link, Links::Refuse), Err(FileError::NotPlain { kind: "a link", .. })));
    assert!(matches!(open_or_create(&link), Err(FileError::NotPlain { kind: "a link", .. })));
    assert!(matches!(check_database(&link, false), Err(FileError::NotPlain { kind: "a link", .. })));
    assert!(matches!(create(&link), Err(FileError::Exists { .. })));
    // A link to nothing is a way to have us make a file elsewhere.
    let (away, dangling) = (folder.path().join("away"), folder.path().join("dangling"));
    symlink(&away, &dangling).expect("a link");
    create(&dangling).expect_err("a link");
    open_or_create(&dangling).expect_err("a link");
    create_secret(&dangling, b"key").expect_err("a link");
    assert!(!away.exists());
    assert_eq!(std::fs::read(&file).expect("the file"), b"secret");
}

#[test]
fn a_database_that_is_open_to_others_is_closed_to_them() {
    let folder = folder();
    let path = folder.path().join("b.db");
    check_database(&path, true).expect("none is no error");
    for ending in ["", "-wal", "-shm"] {
        write(&beside(&path, ending), 0o664);
    }
    check_database(&path, true).expect("ours");
    for ending in ["", "-wal", "-shm"] {
        assert_eq!(mode(&beside(&path, ending)), 0o600, "{ending}");
    }
    std::fs::hard_link(&path, folder.path().join("other.db")).expect("a link");
    assert!(matches!(check_database(&path, true), Err(FileError::ManyNames { .. })));
}

#[test]
fn what_is_made_is_ours_alone_and_never_takes_the_place_of_a_file() {
    let folder = folder();
    let path = folder.path().join("made");
    create_secret(&path, b"one").expect("made");
    assert_eq!(mode(&path), 0o600);
    assert!(matches!(create_secret(&path, b"two"), Err(FileError::Exists { .. })));
    assert_eq!(std::fs::read(&path).expect("the file"), b"one");
    create_database(&path).expect("it is there");
    assert_eq!(std::fs::read(&path).expect("the file"), b"one");
    create_database(&folder.path().join("new.db")).expect("made");
    assert_eq!(mode(&folder.path().join("new.db")), 0o600);
}

#[test]
fn a_file_has_one_name_and_one_identity() {
    let folder = folder();
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    std::fs::create_dir(&real).expect("a folder");
    symlink(&real, &link).expect("a link");
    let name = one_name(&real.join("b.db")).expect("a name");
    assert_eq!(one_name(&link.join("b.db")).expect("a name"), name);
    assert_eq!(one_name(&real.join("../link/./b.db")).expect("a name"), name);
    one_name(&folder.path().join("absent/b.db")).expect_err("no such folder");

    let path = real.join("b.db");
    assert_eq!(Identity::of(&path), None);
    write(&path, 0o600);
    let _open = File::open(&path).expect("open");
    let first = Identity::of(&path);
    write(&real.join("new.db"), 0o600);
    std::fs::rename(real.join("new.db"), &path).expect("rename");
    assert!(first.is_some() && Identity::of(&path) != first);
}
