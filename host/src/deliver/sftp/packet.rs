//! The packets of SFTP version 3 (draft-ietf-secsh-filexfer-02) and of OpenSSH's extensions to it, as a client has them.
//!
//! Pure. Handles are bytes and codes are numbers here, since servers send handles that are no text and codes of later versions;
//! a client that takes them for anything else loses the session over them. It must not know what is uploaded.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The largest packet that a server may send: what OpenSSH's own client takes.
pub(super) const MAX_PACKET: usize = 256 * 1024;

pub(super) const READ: u32 = 0x01;
pub(super) const WRITE: u32 = 0x02;
pub(super) const CREATE: u32 = 0x08;
pub(super) const EXCLUSIVE: u32 = 0x20;

const INIT: u8 = 1;
const VERSION: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ_AT: u8 = 5;
const WRITE_AT: u8 = 6;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const FSETSTAT: u8 = 10;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED: u8 = 200;
const EXTENDED_REPLY: u8 = 201;

const HAS_SIZE: u32 = 0x01;
const HAS_OWNER: u32 = 0x02;
const HAS_MODE: u32 = 0x04;
const HAS_TIMES: u32 = 0x08;
const HAS_MORE: u32 = 0x8000_0000;

/// Which part of a mode says what kind of file it is, and the kinds that are told apart.
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;

/// A packet that ends too early, or is none that a server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent a packet that is not SFTP version 3")]
pub(super) struct Malformed;

/// What a client asks for. Paths and names go as UTF-8.
#[derive(Debug, Clone, Copy)]
pub(super) enum Request<'a> {
    Open {
        path: &'a str,
        flags: u32,
        mode: Option<u32>,
    },
    Close {
        handle: &'a [u8],
    },
    Read {
        handle: &'a [u8],
        offset: u64,
        length: u32,
    },
    Write {
        handle: &'a [u8],
        offset: u64,
        data: &'a [u8],
    },
    Lstat {
        path: &'a str,
    },
    Stat {
        path: &'a str,
    },
    Fstat {
        handle: &'a [u8],
    },
    /// Permissions, and the time of its last change in Unix seconds.
    Fsetstat {
        handle: &'a [u8],
        mode: Option<u32>,
        modified: Option<u32>,
    },
    OpenFolder {
        path: &'a str,
    },
    ReadFolder {
        handle: &'a [u8],
    },
    Remove {
        path: &'a str,
    },
    MakeFolder {
        path: &'a str,
    },
    Rename {
        from: &'a str,
        to: &'a str,
    },
    /// `posix-rename@openssh.com`: what is at the new name is replaced in one step.
    Replace {
        from: &'a str,
        to: &'a str,
    },
    /// `hardlink@openssh.com`: fails when something is at the new name.
    Link {
        from: &'a str,
        to: &'a str,
    },
    /// `fsync@openssh.com`: answered when the file is on the disk.
    Sync {
        handle: &'a [u8],
    },
}

/// The extensions of a server that are made use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Offers {
    pub(super) replace: bool,
    pub(super) link: bool,
    pub(super) sync: bool,
}

/// What a server knows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    pub(super) mode: Option<u32>,
    /// When it was last changed, in Unix seconds.
    pub(super) modified: Option<u32>,
}

impl Attributes {
    /// Whether it is a plain file, as far as the server says what it is.
    pub(super) fn is_file(&self) -> bool {
        self.mode.is_none_or(|mode| mode & KIND == REGULAR || mode & KIND == 0)
    }

    /// Whether the server says that it is a folder.
    pub(super) fn is_folder(&self) -> bool {
        self.mode.is_some_and(|mode| mode & KIND == FOLDER)
    }
}

/// The end of a request that gives nothing else: how it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: u32,
    pub(super) words: String,
}

impl Status {
    pub(super) const OK: u32 = 0;
    const NO_SUCH_FILE: u32 = 2;
    const PERMISSION_DENIED: u32 = 3;
    const FAILURE: u32 = 4;
    const UNSUPPORTED: u32 = 8;
    /// Of version 4, which some servers of version 3 send.
    const NO_SUCH_PATH: u32 = 10;
    const NO_SPACE: u32 = 14;
    const QUOTA: u32 = 15;

    /// Whether what was named, or a folder on the way to it, is not there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.code, Self::NO_SUCH_FILE | Self::NO_SUCH_PATH)
    }

    /// What the code means, for people.
    fn meaning(&self) -> &'static str {
        match self.code {
            Self::NO_SUCH_FILE => "no such file",
            Self::PERMISSION_DENIED => "permission denied",
            Self::FAILURE => "failure",
            Self::UNSUPPORTED => "not supported",
            Self::NO_SUCH_PATH => "no such path",
            Self::NO_SPACE => "no space left",
            Self::QUOTA => "quota exceeded",
            _ => "another failure",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: String = self.words.chars().filter(|c| !c.is_control()).take(200).collect();
        let same = words.eq_ignore_ascii_case(self.meaning());
        match words.is_empty() || same {
            true => write!(f, "{} ({})", self.meaning(), self.code),
            false => write!(f, "{words:?} ({}, {})", self.meaning(), self.code),
        }
    }
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Status(Status),
    Handle(Bytes),
    Data(Bytes),
    Names(Vec<(String, Attributes)>),
    Attributes(Attributes),
    /// The answer of an extension that this client does not use.
    Other,
}

struct Builder(BytesMut);

impl Builder {
    fn new(kind: u8, room: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(room + 64);
        // The length, which is known at the end.
        bytes.put_u32(0);
        bytes.put_u8(kind);
        Self(bytes)
    }

    fn u32(mut self, number: u32) -> Self {
        self.0.put_u32(number);
        self
    }

    fn u64(mut self, number: u64) -> Self {
        self.0.put_u64(number);
        self
    }

    fn text(mut self, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        self.0.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.put_slice(text);
        self
    }

    fn attributes(self, mode: Option<u32>, modified: Option<u32>) -> Self {
        let flags = mode.map_or(0, |_| HAS_MODE) | modified.map_or(0, |_| HAS_TIMES);
        let mut all = self.u32(flags);
        if let Some(mode) = mode {
            all = all.u32(mode);
        }
        if let Some(at) = modified {
            all = all.u32(at).u32(at);
        }
        all
    }

    fn done(mut self) -> Bytes {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0.freeze()
    }
}

/// The first packet of a client.
pub(super) fn hello() -> Bytes {
    Builder::new(INIT, 4).u32(3).done()
}

/// A server's answer to it: what it offers beyond version 3.
pub(super) fn read_hello(mut packet: Bytes) -> Result<Offers, Malformed> {
    if packet.try_get_u8().map_err(|_| Malformed)? != VERSION {
        return Err(Malformed);
    }
    if packet.try_get_u32().map_err(|_| Malformed)? < 3 {
        return Err(Malformed);
    }
    let mut offers = Offers::default();
    while packet.has_remaining() {
        let (name, version) = (text(&mut packet)?, text(&mut packet)?);
        match (&*name, &*version) {
            (b"posix-rename@openssh.com", b"1") => offers.replace = true,
            (b"hardlink@openssh.com", b"1") => offers.link = true,
            (b"fsync@openssh.com", b"1") => offers.sync = true,
            _ => {}
        }
    }
    Ok(offers)
}

impl Request<'_> {
    /// The packet with this id.
    pub(super) fn packet(&self, id: u32) -> Bytes {
        let start = |kind, room| Builder::new(kind, room).u32(id);
        let extended = |name: &str, room| start(EXTENDED, room).text(name);
        match *self {
            Self::Open { path, flags, mode } => {
                start(OPEN, path.len()).text(path).u32(flags).attributes(mode, None).done()
            }
            Self::Close { handle } => start(CLOSE, handle.len()).text(handle).done(),
            Self::Read { handle, offset, length } => {
                start(READ_AT, handle.len()).text(handle).u64(offset).u32(length).done()
            }
            Self::Write { handle, offset, data } => {
                start(WRITE_AT, handle.len() + data.len()).text(handle).u64(offset).text(data).done()
            }
            Self::Lstat { path } => start(LSTAT, path.len()).text(path).done(),
            Self::Stat { path } => start(STAT, path.len()).text(path).done(),
            Self::Fstat { handle } => start(FSTAT, handle.len()).text(handle).done(),
            Self::Fsetstat { handle, mode, modified } => {
                start(FSETSTAT, handle.len()).text(handle).attributes(mode, modified).done()
            }
            Self::OpenFolder { path } => start(OPENDIR, path.len()).text(path).done(),
            Self::ReadFolder { handle } => start(READDIR, handle.len()).text(handle).done(),
            Self::Remove { path } => start(REMOVE, path.len()).text(path).done(),
            Self::MakeFolder { path } => start(MKDIR, path.len()).text(path).attributes(None, None).done(),
            Self::Rename { from, to } => start(RENAME, from.len() + to.len()).text(from).text(to).done(),
            Self::Replace { from, to } => {
                extended("posix-rename@openssh.com", from.len() + to.len()).text(from).text(to).done()
            }
            Self::Link { from, to } => {
                extended("hardlink@openssh.com", from.len() + to.len()).text(from).text(to).done()
            }
            Self::Sync { handle } => extended("fsync@openssh.com", handle.len()).text(handle).done(),
        }
    }
}

/// A server's answer and the id of the request that it is for.
pub(super) fn read(mut packet: Bytes) -> Result<(u32, Reply), Malformed> {
    let kind = packet.try_get_u8().map_err(|_| Malformed)?;
    let id = packet.try_get_u32().map_err(|_| Malformed)?;
    let reply = match kind {
        STATUS => {
            let code = packet.try_get_u32().map_err(|_| Malformed)?;
            // Old servers leave the words out.
            let words = text(&mut packet).unwrap_or_default();
            Reply::Status(Status { code, words: String::from_utf8_lossy(&words).into_owned() })
        }
        HANDLE => Reply::Handle(text(&mut packet)?),
        DATA => Reply::Data(text(&mut packet)?),
        NAME => {
            let count = packet.try_get_u32().map_err(|_| Malformed)?;
            let mut names = Vec::new();
            for _ in 0..count {
                let name = String::from_utf8_lossy(&text(&mut packet)?).into_owned();
                text(&mut packet)?;
                names.push((name, attributes(&mut packet)?));
            }
            Reply::Names(names)
        }
        ATTRS => Reply::Attributes(attributes(&mut packet)?),
        EXTENDED_REPLY => Reply::Other,
        _ => return Err(Malformed),
    };
    Ok((id, reply))
}

fn text(packet: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = packet.try_get_u32().map_err(|_| Malformed)? as usize;
    if packet.len() < length {
        return Err(Malformed);
    }
    Ok(packet.split_to(length))
}

fn attributes(packet: &mut Bytes) -> Result<Attributes, Malformed> {
    let number = |packet: &mut Bytes| packet.try_get_u32().map_err(|_| Malformed);
    let flags = number(packet)?;
    let mut found = Attributes::default();
    if flags & HAS_SIZE != 0 {
        found.size = Some(packet.try_get_u64().map_err(|_| Malformed)?);
    }
    if flags & HAS_OWNER != 0 {
        number(packet)?;
        number(packet)?;
    }
    if flags & HAS_MODE != 0 {
        found.mode = Some(number(packet)?);
    }
    if flags & HAS_TIMES != 0 {
        number(packet)?;
        found.modified = Some(number(packet)?);
    }
    if flags & HAS_MORE != 0 {
        for _ in 0..number(packet)? {
            text(packet)?;
            text(packet)?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u8, body: impl FnOnce(Builder) -> Builder) -> Bytes {
        let mut packet = body(Builder::new(kind, 0).u32(7)).done();
        packet.advance(4);
        packet
    }

    #[test]
    fn requests_are_as_the_draft_has_them() {
        let open = Request::Open { path: "a", flags: WRITE | CREATE | EXCLUSIVE, mode: Some(0o600) };
        let expected: &[u8] =
            &[0, 0, 0, 22, 3, 0, 0, 0, 9, 0, 0, 0, 1, b'a', 0, 0, 0, 0x2a, 0, 0, 0, 4, 0, 0, 1, 0x80];
        assert_eq!(&open.packet(9)[..], expected);
        let write = Request::Write { handle: &[0xff, 0], offset: 258, data: b"xyz" };
        let expected: &[u8] = &[
            0, 0, 0, 26, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3, b'x', b'y',
            b'z',
        ];
        assert_eq!(&write.packet(1)[..], expected);
        let sync = Request::Sync { handle: b"h" }.packet(2);
        assert!(sync.windows(17).any(|part| part == b"fsync@openssh.com"));
        assert_eq!(
            usize::try_from(u32::from_be_bytes(sync[..4].try_into().unwrap())).unwrap(),
            sync.len() - 4
        );
    }

    #[test]
    fn answers_of_odd_servers_are_read() {
        // A handle that is no text, a code of a later version, a status without words, a name that is not UTF-8.
        let handle = read(answer(HANDLE, |b| b.text([0xff, 0xfe, 0x80]))).unwrap();
        assert_eq!(handle, (7, Reply::Handle(Bytes::from_static(&[0xff, 0xfe, 0x80]))));
        let (_, Reply::Status(full)) = read(answer(STATUS, |b| b.u32(14).text("ENOSPC").text("en"))).unwrap()
        else {
            panic!("a status")
        };
        assert_eq!(full.to_string(), "\"ENOSPC\" (no space left, 14)");
        let (_, Reply::Status(bare)) = read(answer(STATUS, |b| b.u32(99))).unwrap() else {
            panic!("a status")
        };
        assert_eq!(bare.to_string(), "another failure (99)");
        let names = answer(NAME, |b| {
            let one = b.u32(2).text([0xe9]).text("long").u32(HAS_SIZE | HAS_OWNER | HAS_MORE).u64(5);
            let one = one.u32(1).u32(1).u32(1).text("more").text("of it");
            one.text("b").text("").u32(HAS_MODE | HAS_TIMES).u32(0o100_644).u32(3).u32(4)
        });
        let (_, Reply::Names(names)) = read(names).unwrap() else { panic!("names") };
        assert_eq!(names[0].1.size, Some(5));
        assert_eq!((names[1].0.as_str(), names[1].1.modified), ("b", Some(4)));
        assert!(names[1].1.is_file() && !names[1].1.is_folder());
    }

    #[test]
    fn what_is_cut_off_is_refused_wherever_it_is_cut() {
        let whole =
            answer(NAME, |b| b.u32(1).text("name").text("long").u32(HAS_SIZE | HAS_TIMES).u64(5).u64(6));
        assert!(read(whole.clone()).is_ok());
        for end in 0..whole.len() {
            assert_eq!(read(whole.slice(..end)), Err(Malformed), "{end}");
        }
        let huge = answer(HANDLE, |b| b.u32(u32::MAX));
        assert_eq!(read(huge), Err(Malformed));
    }

    #[test]
    fn extensions_count_in_the_version_that_is_known() {
        let hello = |pairs: &[(&str, &str)]| {
            let start = Builder::new(VERSION, 0).u32(3);
            let mut packet =
                pairs.iter().fold(start, |all, (name, version)| all.text(name).text(version)).done();
            packet.advance(4);
            read_hello(packet)
        };
        let all =
            [("posix-rename@openssh.com", "1"), ("fsync@openssh.com", "1"), ("hardlink@openssh.com", "2")];
        assert_eq!(hello(&all), Ok(Offers { replace: true, link: false, sync: true }));
        assert_eq!(hello(&[]), Ok(Offers::default()));
        assert_eq!(read_hello(Bytes::from_static(&[VERSION, 0, 0, 0, 2])), Err(Malformed));
    }
}
