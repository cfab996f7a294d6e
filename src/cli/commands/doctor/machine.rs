//! What this machine has to do with a mirror: proxy, clock, open files, other rcsyncs, what DIR is on. Each finding that is a
//! problem has its fix.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::cli::format::{shown, span};
use crate::cli::process::Process;
use crate::edge::net::http::{PROXIES_FOR_HTTPS, ProxyAddress};
use crate::edge::system::disk;

/// A finding: whether it is good, and what it is.
pub(super) type Found = (bool, String);

/// Describes the proxy that requests go through, where one is set. Of a value that is no address nothing is shown: it may hold a
/// password all the same.
pub(super) fn proxy(world: &Process) -> Option<Found> {
    let set = |name: &'static str| Some((name, world.text(name).ok()??));
    let all: Vec<_> = PROXIES_FOR_HTTPS.iter().filter_map(|name| set(name)).collect();
    let (name, value) = all.first()?;
    let Some(used) = ProxyAddress::of(value) else {
        let text = format!(
            "the value of `{name}` is no address of a proxy; write it like `http://proxy.example:3128`, or unset it"
        );
        return Some((false, text));
    };
    let port = used.port.map_or_else(String::new, |port| format!(":{port}"));
    let host = shown(&format!("{}{port}", used.host));
    if let Some((other, _)) = all.iter().find(|(_, other)| ProxyAddress::of(other).as_ref() != Some(&used)) {
        let text = format!(
            "requests go through {host}, from `{name}`, and `{other}` names another proxy; unset one of them"
        );
        return Some((false, text));
    }
    Some((true, format!("requests go through {host}, from `{name}`; hosts in `NO_PROXY` are asked directly")))
}

/// A clock that is off by more breaks signed links and certificates.
const CLOCK_OFF: Duration = Duration::from_secs(120);

/// Compares this machine's clock with that of a server.
pub(super) fn clock(ours: SystemTime, theirs: SystemTime) -> Found {
    let (off, word) = match ours.duration_since(theirs) {
        Ok(off) => (off, "ahead of"),
        Err(error) => (error.duration(), "behind"),
    };
    if off <= CLOCK_OFF {
        return (true, "agrees with the API's clock".to_owned());
    }
    let off = span(off);
    (
        false,
        format!(
            "{off} {word} the API's clock, so signed links and certificates may be refused; set the time, as with `sudo timedatectl set-ntp true`"
        ),
    )
}

/// Fewer open files slow a mirror down.
const FEW_FILES: u64 = 256;

/// Describes how many files this process may open.
pub(super) fn open_files(limit: u64) -> Found {
    if limit >= FEW_FILES {
        return (true, format!("this process may open {limit}"));
    }
    (
        false,
        format!(
            "this process may open {limit} alone, so few files are fetched at a time; type `ulimit -n 4096` first, or raise `LimitNOFILE=` of its service"
        ),
    )
}

/// Describes the rcsyncs on `PATH`, where there are several.
pub(super) fn copies(world: &Process) -> Option<Found> {
    let path = (world.variable)("PATH")?;
    let mut copies: Vec<(PathBuf, PathBuf)> = Vec::new();
    for folder in std::env::split_paths(&path) {
        let program = folder.join(format!("rcsync{}", std::env::consts::EXE_SUFFIX));
        let Some(real) = program.canonicalize().ok().filter(|real| real.is_file()) else { continue };
        if copies.iter().all(|(_, known)| *known != real) {
            copies.push((program, real));
        }
    }
    let ((used, _), others) = copies.split_first()?;
    let name = |path: &Path| shown(&path.display().to_string());
    let others: Vec<String> = others.iter().map(|(other, _)| name(other)).collect();
    (!others.is_empty()).then(|| {
        let text = format!(
            "PATH has several: {} is used, and {} is not; remove the older one (`--version` shows which it is)",
            name(used),
            others.join(", ")
        );
        (false, text)
    })
}

/// File systems of other machines, as `/proc/mounts` names them.
const NETWORK: [&str; 20] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "fuse.glusterfs",
    "lustre",
    "beegfs",
    "fuse.sshfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.goofys",
    "fuse.gcsfuse",
    "fuse.blobfuse2",
    "davfs",
    "fuse.davfs2",
];

/// Describes the network share that a folder is on; `mounts` is `/proc/mounts`.
pub(super) fn share(folder: &Path, mounts: &str) -> Option<Found> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (at, kind) = (fields.next()?, fields.next()?);
        // Spaces are written as octal numbers there.
        Some((at.replace("\\040", " "), kind))
    });
    let below = mounted.filter(|(at, _)| folder.starts_with(at));
    // Of two at one place the later one hides the other.
    let (_, kind) = below.max_by_key(|(at, _)| at.len())?;
    NETWORK.contains(&kind).then(|| {
        let folder = shown(&folder.display().to_string());
        let text = format!(
            "{folder} is on a network share ({kind}), where another machine may not see that this folder is in use, and files \
             arrive slowly; run one rcsync alone for it, or mirror to a disk of this machine and copy from there"
        );
        (false, text)
    })
}

/// Whether this user may create files in a folder, or in the nearest one above it that there is.
pub(super) fn is_writable(folder: &Path) -> bool {
    let there = disk::nearest_folder(folder);
    #[cfg(unix)]
    {
        use rustix::fs::{Access, access};
        access(there, Access::WRITE_OK | Access::EXEC_OK).is_ok()
    }
    #[cfg(not(unix))]
    {
        std::fs::metadata(there).is_ok_and(|metadata| !metadata.permissions().readonly())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::process::fake;

    #[test]
    fn a_proxy_is_named_without_its_password() {
        let found = |variables: &[(&str, &str)]| proxy(&fake::world(variables).0);
        assert_eq!(found(&[]), None);
        let (ok, text) = found(&[("HTTPS_PROXY", "http://me:s3cret@proxy.example:3128")]).unwrap();
        assert!(
            ok && text.starts_with("requests go through proxy.example:3128, from `HTTPS_PROXY`"),
            "{text}"
        );
        assert!(!text.contains("s3cret"), "{text}");
        let (ok, text) = found(&[("https_proxy", "http://")]).unwrap();
        assert!(!ok && text.contains("write it like `http://proxy.example:3128`, or unset it"), "{text}");
        for value in [
            "me:s3cret@proxy:port",
            "http://me:s3/cret@proxy",
            "http://me:s3cret@",
            "me:s3?cret@p",
            "//me:s3cret@p:",
        ] {
            let (ok, text) = found(&[("HTTPS_PROXY", value)]).unwrap();
            assert!(!["s3", "cret"].iter().any(|part| text.contains(part)), "{value}: {ok} {text}");
        }
        for scheme in ["", "http://", "https://", "socks5h://"] {
            for password in ["12345/abc", "12345?abc", "12345#abc", "12345\\abc", "/", "1/2?3#4", "12345/a@b"]
            {
                let value = format!("{scheme}me:{password}@proxy.example:3128");
                let (ok, text) = found(&[("HTTPS_PROXY", &value)]).unwrap();
                // A backslash ends the host in addresses of HTTP alone.
                let is_address = scheme.starts_with("socks") && password.contains('\\');
                assert_eq!(
                    (ok, text.contains("is no address of a proxy")),
                    (is_address, !is_address),
                    "{value}"
                );
                assert!(!["me:", "12345", "abc"].iter().any(|part| text.contains(part)), "{value}: {text}");
            }
        }
        let same = [("HTTPS_PROXY", "http://me:s3cret@A.example:1"), ("all_proxy", "a.example:1")];
        assert!(found(&same).unwrap().0, "one proxy, written in two ways");
        let (ok, text) = found(&[("HTTPS_PROXY", "a:1"), ("https_proxy", "b:2")]).unwrap();
        assert!(!ok && text.contains("`https_proxy` names another proxy; unset one of them"), "{text}");
    }

    #[test]
    fn a_clock_that_is_off_is_found_in_both_directions() {
        let theirs = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (seconds, said) in [
            (0_i64, None),
            (-100, None),
            (100, None),
            (3700, Some("1h 01m ahead of the API's clock")),
            (-200, Some("3m 20s behind the API's clock")),
        ] {
            let off = Duration::from_secs(seconds.unsigned_abs());
            let ours = if seconds < 0 { theirs - off } else { theirs + off };
            let (ok, text) = clock(ours, theirs);
            assert_eq!(ok, said.is_none(), "{text}");
            assert!(said.is_none_or(|said| text.starts_with(said) && text.contains("set-ntp")), "{text}");
        }
    }

    #[test]
    fn few_open_files_are_a_problem() {
        assert!(open_files(1024).0);
        let (ok, text) = open_files(64);
        assert!(!ok && text.contains("`ulimit -n 4096`"), "{text}");
    }

    #[test]
    fn a_second_rcsync_on_the_path_is_found() {
        let root = tempfile::tempdir().unwrap();
        let name = format!("rcsync{}", std::env::consts::EXE_SUFFIX);
        let folders: Vec<PathBuf> = ["a", "b", "c"].iter().map(|name| root.path().join(name)).collect();
        folders.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
        std::fs::write(folders[0].join(&name), "old").unwrap();
        let found = || {
            let path = std::env::join_paths(&folders).unwrap().into_string().unwrap();
            copies(&fake::world(&[("PATH", &path)]).0)
        };
        assert_eq!(found(), None);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(folders[0].join(&name), folders[1].join(&name)).unwrap();
            assert_eq!(found(), None, "a link to the same file");
        }
        std::fs::write(folders[2].join(&name), "new").unwrap();
        let (ok, text) = found().unwrap();
        let (used, other) = (folders[0].join(&name), folders[2].join(&name));
        let said =
            format!("{} is used, and {} is not; remove the older one", used.display(), other.display());
        assert!(!ok && text.contains(&said), "{text}");
    }

    #[test]
    #[cfg(unix)]
    fn a_folder_on_a_network_share_is_found() {
        const MOUNTS: &str = "\
            /dev/sda1 / ext4 rw 0 0\n\
            nas:/loras /mnt/nas nfs4 rw 0 0\n\
            /dev/sdb1 /mnt/nas/local ext4 rw 0 0\n\
            me@host: /home/me/my\\040share fuse.sshfs rw 0 0\n\
            //nas/x /over cifs rw 0 0\n\
            /dev/sdc1 /over xfs rw 0 0\n\
            /dev/sdd1 /usb fuseblk rw 0 0\n";
        for (folder, kind) in [
            ("/home/me/dog", None),
            ("/mnt/nas", Some("nfs4")),
            ("/mnt/nas/dog", Some("nfs4")),
            ("/mnt/nasty", None),
            ("/mnt/nas/local/dog", None),
            ("/home/me/my share/dog", Some("fuse.sshfs")),
            ("/over/dog", None),
            ("/usb/dog", None),
        ] {
            let found = share(Path::new(folder), MOUNTS);
            assert_eq!(found.is_some(), kind.is_some(), "{folder}");
            if let (Some((ok, text)), Some(kind)) = (found, kind) {
                assert!(!ok && text.contains(&format!("a network share ({kind})")), "{text}");
                assert!(text.contains("mirror to a disk of this machine"), "{text}");
            }
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_folder_that_may_not_be_written_is_found() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        assert!(is_writable(folder.path()) && is_writable(&folder.path().join("a/b")));
        let locked = folder.path().join("locked");
        std::fs::create_dir(&locked).unwrap();
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o555)).unwrap();
        // Nothing is closed to root.
        assert_eq!(is_writable(&locked), rustix::process::geteuid().is_root());
    }
}
