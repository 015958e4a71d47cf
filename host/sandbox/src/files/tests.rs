//! What a guest reaches through a granted directory, function by function.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;
use tidemill_core::limits::{Limits, PAGE_BYTES_MAX};

use super::*;
use crate::bindings::wasi::wasi::filesystem::preopens::Host as _;
use crate::bindings::wasi::wasi::filesystem::types::{
    DescriptorFlags, DescriptorType, Host as _, HostDescriptor, HostDirectoryEntryStream as _,
    NewTimestamp, OpenFlags, PathFlags,
};
use crate::bindings::wasi::wasi::io::error::HostError as _;
use crate::bindings::wasi::wasi::io::streams::{HostInputStream as _, StreamError};
use crate::component::{TaskIdentity, rules_outside_of_jobs};
use crate::host_wasi::InputStream;

type Answer<T> = core::result::Result<T, FileError>;

/// A guest that was granted `granted`, beside which lies `secret`.
struct World {
    place: TempDir,
    guest: GuestData,
    root: Resource<Descriptor>,
}

fn guest(directories: Vec<GrantedDirectory>, hash_key: [u8; 32], limits: Limits) -> GuestData {
    let rules = rules_outside_of_jobs(Arc::default(), Arc::new(limits));
    let mut guest = GuestData::new(rules, &TaskIdentity::default(), Arc::default());
    guest.files = Files::new(GrantedFiles::new(directories, hash_key), Arc::default());
    guest
}

fn granted(path: &Path) -> GrantedDirectory {
    GrantedDirectory::open(&path.canonicalize().unwrap(), "/granted").unwrap()
}

impl World {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::create_dir_all(path("granted/deep/er")).unwrap();
        fs::create_dir(path("outside")).unwrap();
        for name in ["granted/file", "granted/deep/file", "secret", "outside/secret"] {
            fs::write(path(name), name).unwrap();
        }
        let mut guest = guest(vec![granted(&path("granted"))], [1; 32], limits);
        let mut directories = guest.get_directories().unwrap();
        let (root, seen_at) = directories.remove(0);
        assert_eq!((seen_at.as_str(), directories.len()), ("/granted", 0));
        Self { place, guest, root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join("granted").join(name)
    }

    fn root(&self) -> Resource<Descriptor> {
        Resource::new_borrow(self.root.rep())
    }

    fn open_as(
        &mut self,
        path: &str,
        what: OpenFlags,
        flags: DescriptorFlags,
    ) -> Answer<Resource<Descriptor>> {
        self.guest.open_at(self.root(), PathFlags::SYMLINK_FOLLOW, path.to_owned(), what, flags)
    }

    fn open(&mut self, path: &str) -> Answer<Resource<Descriptor>> {
        self.open_as(path, OpenFlags::empty(), DescriptorFlags::READ)
    }

    fn read(&mut self, path: &str) -> Answer<String> {
        let file = self.open(path)?;
        let (bytes, is_end) = HostDescriptor::read(&mut self.guest, file, 1000, 0)?;
        assert!(!is_end);
        Ok(String::from_utf8(bytes).unwrap())
    }

    fn stat(&mut self, flags: PathFlags, path: &str) -> Answer<DescriptorType> {
        self.guest.stat_at(self.root(), flags, path.to_owned()).map(|stat| stat.type_)
    }
}

#[track_caller]
fn code<T>(answer: Answer<T>) -> ErrorCode {
    match answer {
        Err(FileError::Code(code)) => code,
        Err(FileError::Fault(error)) => panic!("a fault: {error}"),
        Ok(_) => panic!("not refused"),
    }
}

#[test]
fn what_lies_in_a_granted_directory_is_read() {
    let mut world = World::new();
    symlink("deep", world.path("inside")).unwrap();
    for path in ["deep/file", "inside/file", "inside/er/../file", "./deep/../deep/file"] {
        assert_eq!(world.read(path).ok(), Some("granted/deep/file".to_owned()), "{path}");
    }
    let deep = world.open("deep/").ok().unwrap();
    let kind = world.guest.get_type(Resource::new_borrow(deep.rep()));
    assert_eq!(kind.ok(), Some(DescriptorType::Directory));
    let nofollow = PathFlags::empty();
    assert_eq!(world.stat(nofollow, "inside").ok(), Some(DescriptorType::SymbolicLink));
    assert_eq!(
        world.stat(PathFlags::SYMLINK_FOLLOW, "inside").ok(),
        Some(DescriptorType::Directory)
    );
    let root = world.root();
    assert_eq!(world.guest.readlink_at(root, "inside".to_owned()).ok(), Some("deep".to_owned()));
    let root = world.root();
    let unfollowed = world.guest.open_at(
        root,
        nofollow,
        "inside".to_owned(),
        OpenFlags::empty(),
        DescriptorFlags::READ,
    );
    assert_eq!(code(unfollowed), ErrorCode::Loop);
    assert_eq!(code(world.open("none")), ErrorCode::NoEntry);
    assert_eq!(code(world.open("file/")), ErrorCode::NotDirectory);
    let directory = world.open_as("file", OpenFlags::DIRECTORY, DescriptorFlags::READ);
    assert_eq!(code(directory), ErrorCode::NotDirectory);
}

#[test]
fn no_path_leads_out_of_a_granted_directory() {
    let mut world = World::new();
    let outside = world.place.path().join("outside");
    symlink(&outside, world.path("absolute")).unwrap();
    symlink("../outside", world.path("relative")).unwrap();
    symlink("../secret", world.path("link")).unwrap();
    symlink("relative", world.path("two-steps")).unwrap();
    symlink("/proc/self/root", world.path("magic")).unwrap();
    let secret = world.place.path().join("secret").to_str().unwrap().to_owned();
    let paths = [
        "..",
        "../",
        "../secret",
        "deep/../../secret",
        "deep/er/../../../outside",
        "/",
        "/etc/passwd",
        "/proc/self/mem",
        &secret,
        "absolute",
        "absolute/",
        "absolute/.",
        "absolute/secret",
        "absolute/..",
        "relative",
        "relative/",
        "relative//",
        "relative/./",
        "relative/secret",
        "two-steps",
        "two-steps/",
        "two-steps/secret",
        "link",
        "magic",
        "magic/",
        "magic/etc/passwd",
    ];
    for path in paths {
        assert_eq!(code(world.open(path)), ErrorCode::NotPermitted, "{path}");
        let found = world.stat(PathFlags::SYMLINK_FOLLOW, path);
        assert_eq!(code(found), ErrorCode::NotPermitted, "{path}");
        let root = world.root();
        let hash = world.guest.metadata_hash_at(root, PathFlags::SYMLINK_FOLLOW, path.to_owned());
        assert_eq!(code(hash), ErrorCode::NotPermitted, "{path}");
    }
    // A trailing slash asks for what the link leads to.
    for path in ["absolute/", "relative/", "two-steps/.", "magic/"] {
        assert_eq!(code(world.stat(PathFlags::empty(), path)), ErrorCode::NotPermitted, "{path}");
    }
    // Where an absolute link leads is a path of the host.
    for path in ["absolute", "magic", "../secret", "relative/secret"] {
        let root = world.root();
        code(world.guest.readlink_at(root, path.to_owned()));
    }
    let deep = world.open("deep").ok().unwrap();
    let up = |path: &str| (Resource::new_borrow(deep.rep()), path.to_owned());
    for path in ["..", "../file", "../../secret"] {
        let (deep, path) = up(path);
        let opened = world.guest.open_at(
            deep,
            PathFlags::SYMLINK_FOLLOW,
            path,
            OpenFlags::empty(),
            DescriptorFlags::READ,
        );
        assert_eq!(code(opened), ErrorCode::NotPermitted, "from a directory below");
    }
}

#[test]
fn paths_are_bounded_and_hold_no_zero() {
    let mut world = World::new();
    let long = "./".repeat(PATH_BYTES_MAX / 2) + "file";
    assert_eq!(code(world.open(&long)), ErrorCode::NameTooLong);
    assert_eq!(code(world.open(&"x".repeat(300))), ErrorCode::NameTooLong);
    assert_eq!(code(world.open("file\0")), ErrorCode::Invalid);
    assert_eq!(code(world.open("")), ErrorCode::NoEntry);
}

#[test]
fn only_regular_files_and_directories_are_opened() {
    let mut world = World::new();
    let mode = Mode::from_raw_mode(0o600);
    mknodat(CWD, world.path("fifo"), FileType::Fifo, mode, 0).unwrap();
    let _listener = UnixListener::bind(world.path("socket")).unwrap();
    symlink("fifo", world.path("to-fifo")).unwrap();
    for path in ["fifo", "socket", "to-fifo"] {
        assert_eq!(code(world.open(path)), ErrorCode::NotPermitted, "{path}");
    }
    assert_eq!(world.stat(PathFlags::empty(), "fifo").ok(), Some(DescriptorType::Fifo));
}

#[test]
fn whatever_would_change_something_is_answered_with_read_only() {
    let mut world = World::new();
    let file = world.open("file").ok().unwrap();
    let file = || Resource::new_borrow(file.rep());
    let (root, name) = (|| Resource::new_borrow(world.root.rep()), || "file".to_owned());
    let new = || "new".to_owned();
    let (guest, now, follow) = (&mut world.guest, NewTimestamp::Now, PathFlags::SYMLINK_FOLLOW);
    let mut codes = vec![
        code(guest.write_via_stream(file(), 0)),
        code(guest.append_via_stream(file())),
        code(guest.set_size(file(), 0)),
        code(guest.set_times(file(), now, now)),
        code(guest.write(file(), b"x".to_vec(), 0)),
        code(guest.create_directory_at(root(), new())),
        code(guest.set_times_at(root(), follow, name(), now, now)),
        code(guest.link_at(root(), follow, name(), root(), new())),
        code(guest.remove_directory_at(root(), "deep/er".to_owned())),
        code(guest.rename_at(root(), name(), root(), new())),
        code(guest.symlink_at(root(), name(), new())),
        code(guest.unlink_file_at(root(), name())),
    ];
    for what in [OpenFlags::CREATE, OpenFlags::TRUNCATE, OpenFlags::CREATE | OpenFlags::EXCLUSIVE] {
        codes.push(code(guest.open_at(root(), follow, name(), what, DescriptorFlags::READ)));
    }
    for flags in [DescriptorFlags::WRITE, DescriptorFlags::MUTATE_DIRECTORY] {
        let flags = DescriptorFlags::READ | flags;
        codes.push(code(guest.open_at(root(), follow, name(), OpenFlags::empty(), flags)));
    }
    assert!(codes.iter().all(|code| *code == ErrorCode::ReadOnly), "{codes:?}");
    assert!(guest.sync(file()).is_ok() && guest.sync_data(root()).is_ok());
    assert_eq!(guest.get_flags(root()).ok(), Some(DescriptorFlags::READ));
    assert_eq!(fs::read_to_string(world.path("file")).unwrap(), "granted/file");
    let mut names: Vec<_> = fs::read_dir(world.path("")).unwrap().flatten().collect();
    names.sort_by_key(fs::DirEntry::file_name);
    assert_eq!(names.iter().map(fs::DirEntry::file_name).collect::<Vec<_>>(), ["deep", "file"]);
}

#[test]
fn a_large_file_comes_in_pieces_whatever_the_guest_asks_for() {
    let mut world = World::new();
    let content: Vec<u8> = (0..3 * PAGE_BYTES_MAX + 7).map(|at| (at / 1000) as u8).collect();
    fs::write(world.path("large"), &content).unwrap();
    let file = world.open("large").ok().unwrap();
    let file = || Resource::new_borrow(file.rep());
    let mut read = Vec::new();
    loop {
        let (bytes, is_end) =
            HostDescriptor::read(&mut world.guest, file(), u64::MAX, read.len() as u64)
                .ok()
                .unwrap();
        assert!(bytes.len() <= PAGE_BYTES_MAX && is_end == bytes.is_empty());
        if is_end {
            break;
        }
        read.extend(bytes);
    }
    assert!(read == content);
    assert_eq!(
        HostDescriptor::read(&mut world.guest, file(), 0, 0).ok(),
        Some((Vec::new(), false))
    );
    assert_eq!(
        code(HostDescriptor::read(&mut world.guest, file(), 1, u64::MAX)),
        ErrorCode::Invalid
    );
    let stream = world.guest.read_via_stream(file(), 5).ok().unwrap();
    let stream = || Resource::<InputStream>::new_borrow(stream.rep());
    let skipped = world.guest.skip(stream(), 3).unwrap().ok().unwrap();
    let mut read = Vec::new();
    while let Ok(bytes) = world.guest.blocking_read(stream(), u64::MAX).unwrap() {
        assert!((1..=PAGE_BYTES_MAX).contains(&bytes.len()));
        read.extend(bytes);
    }
    assert!(skipped == 3 && read == content[8..]);
    assert!(matches!(world.guest.blocking_read(stream(), 1).unwrap(), Err(StreamError::Closed)));
    drop(world);
    let mut world = World::with(Limits { host_call_bytes: 5, ..Limits::default() });
    assert_eq!(world.read("file").ok(), Some("grant".to_owned()));
}

#[test]
fn a_stream_that_fails_says_how_and_names_nothing_of_the_host() {
    let mut world = World::new();
    let file = world.open("file").ok().unwrap();
    let stream = world.guest.read_via_stream(file, u64::MAX).ok().unwrap();
    let Err(StreamError::LastOperationFailed(error)) =
        world.guest.blocking_read(stream, 1).unwrap()
    else {
        panic!("no position of a file");
    };
    let error = || Resource::new_borrow(error.rep());
    assert_eq!(world.guest.filesystem_error_code(error()).unwrap(), Some(ErrorCode::Invalid));
    let words = world.guest.to_debug_string(error()).unwrap();
    assert_eq!(words, "reading the file failed: invalid");
}

#[test]
fn the_entries_of_a_directory_come_one_at_a_time() {
    let mut world = World::new();
    (0..500).for_each(|at| fs::write(world.path(&format!("deep/{at}")), "").unwrap());
    symlink("/etc", world.path("deep/link")).unwrap();
    let deep = world.open("deep").ok().unwrap();
    let stream = world.guest.read_directory(deep).ok().unwrap();
    let mut found = Vec::new();
    while let Some(entry) =
        world.guest.read_directory_entry(Resource::new_borrow(stream.rep())).ok().unwrap()
    {
        found.push((entry.name, entry.type_));
    }
    assert_eq!(found.len(), 503);
    let kind = |name: &str| found.iter().find(|(found, _)| found == name).map(|(_, kind)| *kind);
    assert_eq!(kind("er"), Some(DescriptorType::Directory));
    assert_eq!(kind("499"), Some(DescriptorType::RegularFile));
    assert_eq!(kind("link"), Some(DescriptorType::SymbolicLink));
    let file = world.open("file").ok().unwrap();
    assert_eq!(code(world.guest.read_directory(file)), ErrorCode::NotDirectory);
}

#[test]
fn a_sandbox_has_only_so_much_open_at_once() {
    let mut world = World::new();
    let paths = ["file", "deep"].into_iter().cycle();
    let mut open: Vec<_> =
        paths.take(OPEN_MAX).map(|path| world.open(path).ok().unwrap()).collect();
    assert_eq!(code(world.open("file")), ErrorCode::Quota);
    let root = world.root();
    assert_eq!(code(world.guest.read_directory(root)), ErrorCode::Quota);
    // A stream keeps its file open.
    let first = open.remove(0);
    let stream = world.guest.read_via_stream(Resource::new_borrow(first.rep()), 0).ok().unwrap();
    HostDescriptor::drop(&mut world.guest, first).unwrap();
    assert_eq!(code(world.open("file")), ErrorCode::Quota);
    crate::bindings::wasi::wasi::io::streams::HostInputStream::drop(&mut world.guest, stream)
        .unwrap();
    assert_eq!(world.read("file").ok(), Some("granted/file".to_owned()));
    // What could not be opened is not counted.
    code(world.open("none"));
    HostDescriptor::drop(&mut world.guest, open.remove(0)).unwrap();
    assert!(world.open("file").is_ok());
}

#[test]
fn what_is_told_of_a_file_does_not_identify_the_host() {
    let mut world = World::new();
    let follow = PathFlags::SYMLINK_FOLLOW;
    let root = world.root();
    let stat = world.guest.stat_at(root, follow, "file".to_owned()).ok().unwrap();
    assert_eq!((stat.type_, stat.size), (DescriptorType::RegularFile, 12));
    assert!(stat.data_access_timestamp.is_none() && stat.status_change_timestamp.is_none());
    assert!(stat.data_modification_timestamp.is_some_and(|time| time.seconds > 0));
    let hash = |world: &mut World, path: &str| {
        let root = world.root();
        let hash = world.guest.metadata_hash_at(root, follow, path.to_owned()).ok().unwrap();
        (hash.lower, hash.upper)
    };
    let of_file = hash(&mut world, "file");
    let [file, same, other] = ["file", "deep/../file", "deep/file"];
    assert_eq!(hash(&mut world, same), of_file);
    assert_ne!(hash(&mut world, other), of_file);
    let [file, same, other] = [file, same, other].map(|path| world.open(path).ok().unwrap());
    let of_open = world.guest.metadata_hash(Resource::new_borrow(file.rep())).ok().unwrap();
    assert_eq!((of_open.lower, of_open.upper), of_file);
    let file = || Resource::new_borrow(file.rep());
    assert!(world.guest.is_same_object(file(), same).unwrap());
    assert!(!world.guest.is_same_object(file(), other).unwrap());
    world.guest.files.granted.hash_key = [2; 32];
    assert_ne!(hash(&mut world, "file"), of_file);
}

#[test]
fn a_directory_that_became_a_link_since_it_was_checked_is_not_opened() {
    let world = World::new();
    let checked = world.path("deep/er").canonicalize().unwrap();
    assert!(GrantedDirectory::open(&checked, "/d").is_ok());
    for (moved, place) in [("deep/er", "deep/moved"), ("deep", "moved")] {
        fs::rename(world.path(moved), world.path(place)).unwrap();
        symlink(world.path(place), world.path(moved)).unwrap();
        assert!(GrantedDirectory::open(&checked, "/d").is_err(), "{moved} is a link now");
        fs::remove_file(world.path(moved)).unwrap();
        fs::rename(world.path(place), world.path(moved)).unwrap();
    }
    for bad in ["relative", "/tmp/../tmp", "/etc/passwd", "/none"] {
        assert!(GrantedDirectory::open(Path::new(bad), "/d").is_err(), "{bad}");
    }
}

#[test]
fn a_directory_that_is_swapped_for_a_link_while_it_is_used_leads_nowhere_else() {
    let mut world = World::new();
    let deep = world.open("deep").ok().unwrap();
    fs::rename(world.path("deep"), world.path("was-deep")).unwrap();
    symlink("../outside", world.path("deep")).unwrap();
    assert_eq!(code(world.open("deep/secret")), ErrorCode::NotPermitted);
    let held = world.guest.open_at(
        deep,
        PathFlags::SYMLINK_FOLLOW,
        "file".to_owned(),
        OpenFlags::empty(),
        DescriptorFlags::READ,
    );
    let (bytes, _) =
        HostDescriptor::read(&mut world.guest, held.ok().unwrap(), 100, 0).ok().unwrap();
    assert_eq!(bytes, b"granted/deep/file");
}

#[test]
fn what_the_kernel_shows_as_files_is_not_opened_even_where_everything_is_granted() {
    let mut guest = guest(vec![granted(Path::new("/"))], [1; 32], Limits::default());
    let (root, _) = guest.get_directories().unwrap().remove(0);
    let mut open = |path: &str| {
        guest.open_at(
            Resource::new_borrow(root.rep()),
            PathFlags::SYMLINK_FOLLOW,
            path.to_owned(),
            OpenFlags::empty(),
            DescriptorFlags::READ,
        )
    };
    for path in ["proc", "proc/self/mem", "proc/self/environ", "proc/self/fd", "dev/null"] {
        assert_eq!(code(open(path)), ErrorCode::NotPermitted, "{path}");
    }
    assert!(open("etc").is_ok());
    for path in ["/proc", "/proc/1", "/proc/sys"] {
        assert!(GrantedDirectory::open(Path::new(path), "/d").is_err(), "{path}");
    }
}

#[test]
fn without_grants_there_is_no_directory() {
    let mut guest = guest(Vec::new(), [0; 32], Limits::default());
    assert_eq!(guest.get_directories().unwrap().len(), 0);
    let descriptor = Resource::new_borrow(0);
    assert!(matches!(guest.get_type(descriptor), Err(FileError::Fault(_))));
}
