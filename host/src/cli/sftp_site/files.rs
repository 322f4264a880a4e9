//! The requests of SFTP (draft-ietf-secsh-filexfer-02) on a folder.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use russh_sftp::protocol::{Attrs, Data, File, FileAttributes, Handle, Name, OpenFlags, Status, StatusCode};
use russh_sftp::server::{Handler, StatusReply};

use super::{Came, Told};

/// Files and folders open at once, for each session.
const HANDLES: usize = 128;
/// The most that one READ gives, in bytes.
const READ_BYTES: u32 = 256 << 10;
/// The largest file, in bytes.
const FILE_BYTES: u64 = 4 << 30;
/// The most names that are listed of a folder, and the most in one answer.
const NAMES: usize = 10_000;
const NAMES_AT_ONCE: usize = 100;

/// One session.
pub(super) struct Files {
    root: PathBuf,
    told: Arc<Told>,
    open: HashMap<String, Open>,
    opened: u64,
}

enum Open {
    File {
        file: Arc<fs::File>,
        path: String,
        written: bool,
    },
    /// What is still to be listed.
    Folder(Vec<File>),
}

impl Files {
    pub(super) fn new(root: PathBuf, told: Arc<Told>) -> Self {
        Self { root, told, open: HashMap::new(), opened: 0 }
    }

    /// Where a path lies on this machine. Worked out from its text, so that nothing leads out of the root; links cannot be
    /// made here.
    fn local(&self, path: &str) -> PathBuf {
        match plain(path).trim_start_matches('/') {
            "" => self.root.clone(),
            below => self.root.join(below),
        }
    }

    fn keep(&mut self, id: u32, open: Open) -> Result<Handle, StatusReply> {
        if self.open.len() >= HANDLES {
            return Err(failure(format!("the limit `handles` is {HANDLES}")));
        }
        self.opened += 1;
        let handle = self.opened.to_string();
        self.open.insert(handle.clone(), open);
        Ok(Handle { id, handle })
    }

    fn file(&mut self, handle: &str) -> Result<(&Arc<fs::File>, &mut bool), StatusReply> {
        match self.open.get_mut(handle) {
            Some(Open::File { file, written, .. }) => Ok((file, written)),
            _ => Err(failure("there is no such file open")),
        }
    }
}

/// The path from the root, without `.` and `..`.
fn plain(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn failure(why: impl Into<String>) -> StatusReply {
    StatusCode::Failure.with_message(why)
}

fn ok(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: "Ok".to_owned(),
        language_tag: "en-US".to_owned(),
    }
}

/// Does what may wait for the disk.
async fn on_disk<T: Send + 'static>(
    what: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, StatusReply> {
    let done = tokio::task::spawn_blocking(what).await.map_err(|_| failure("it was not done"))?;
    done.map_err(|why| {
        let code = match why.kind() {
            std::io::ErrorKind::NotFound => StatusCode::NoSuchFile,
            std::io::ErrorKind::PermissionDenied => StatusCode::PermissionDenied,
            _ => StatusCode::Failure,
        };
        code.with_message(why.to_string())
    })
}

fn resize(file: &fs::File, size: u64) -> std::io::Result<()> {
    if size > FILE_BYTES { Err(std::io::ErrorKind::FileTooLarge.into()) } else { file.set_len(size) }
}

/// When it was read and written last, where a client says so.
fn times(attrs: &FileAttributes) -> Option<fs::FileTimes> {
    let moment = |seconds: u32| UNIX_EPOCH + Duration::from_secs(seconds.into());
    let (read, written) = (moment(attrs.atime?), moment(attrs.mtime?));
    Some(fs::FileTimes::new().set_accessed(read).set_modified(written))
}

fn mode_of(mode: u32) -> fs::Permissions {
    fs::Permissions::from_mode(mode & 0o777)
}

/// Renames, unless there is something of that name already: that is what version 3 asks for.
fn rename(from: &Path, to: &Path) -> std::io::Result<Metadata> {
    if fs::symlink_metadata(from)?.is_dir() {
        if fs::symlink_metadata(to).is_ok() {
            return Err(std::io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(from, to)?;
    } else {
        // A second name and then no first one: unlike a look beforehand, this cannot replace what comes in between.
        fs::hard_link(from, to)?;
        fs::remove_file(from)?;
    }
    fs::symlink_metadata(to)
}

fn list(folder: &Path) -> std::io::Result<Vec<File>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)?.take(NAMES) {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push(File::new(name, FileAttributes::from(&entry.metadata()?)));
    }
    // The last one is given first.
    files.sort_by(|a, b| b.filename.cmp(&a.filename));
    Ok(files)
}

impl Handler for Files {
    type Error = StatusReply;

    fn unimplemented(&self) -> Self::Error {
        StatusCode::OpUnsupported.into()
    }

    async fn open(
        &mut self,
        id: u32,
        filename: String,
        pflags: OpenFlags,
        attrs: FileAttributes,
    ) -> Result<Handle, Self::Error> {
        let local = self.local(&filename);
        let file = on_disk(move || {
            let new = pflags.contains(OpenFlags::CREATE) && fs::symlink_metadata(&local).is_err();
            let file = fs::OpenOptions::from(pflags).open(&local)?;
            if new && let Some(mode) = attrs.permissions {
                file.set_permissions(mode_of(mode))?;
            }
            Ok(file)
        })
        .await?;
        // A file is there once it is made, whether or not anything is written.
        let written = pflags.contains(OpenFlags::CREATE);
        self.keep(id, Open::File { file: Arc::new(file), path: plain(&filename), written })
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, Self::Error> {
        match self.open.remove(&handle) {
            Some(Open::File { file, path, written: true }) => {
                let bytes = on_disk(move || file.metadata()).await?.len();
                (self.told)(&Came { path, renamed_from: None, bytes });
                Ok(ok(id))
            }
            Some(_) => Ok(ok(id)),
            None => Err(failure("there is no such handle")),
        }
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, len: u32) -> Result<Data, Self::Error> {
        let file = self.file(&handle)?.0.clone();
        let data = on_disk(move || {
            let mut data = vec![0; len.min(READ_BYTES) as usize];
            let read = file.read_at(&mut data, offset)?;
            data.truncate(read);
            Ok(data)
        })
        .await?;
        if data.is_empty() { Err(StatusCode::Eof.into()) } else { Ok(Data { id, data }) }
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        data: Vec<u8>,
    ) -> Result<Status, Self::Error> {
        let (file, written) = self.file(&handle)?;
        if offset.saturating_add(data.len() as u64) > FILE_BYTES {
            return Err(failure(format!("the limit `file_bytes` is {FILE_BYTES}")));
        }
        *written = true;
        let file = file.clone();
        on_disk(move || file.write_all_at(&data, offset)).await?;
        Ok(ok(id))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, Self::Error> {
        let local = self.local(&path);
        let found = on_disk(move || fs::symlink_metadata(local)).await?;
        Ok(Attrs { id, attrs: (&found).into() })
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, Self::Error> {
        self.lstat(id, path).await
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, Self::Error> {
        let file = self.file(&handle)?.0.clone();
        let found = on_disk(move || file.metadata()).await?;
        Ok(Attrs { id, attrs: (&found).into() })
    }

    async fn setstat(&mut self, id: u32, path: String, attrs: FileAttributes) -> Result<Status, Self::Error> {
        let local = self.local(&path);
        on_disk(move || {
            let open = || fs::OpenOptions::new().write(true).open(&local);
            attrs.size.map_or(Ok(()), |size| resize(&open()?, size))?;
            attrs.permissions.map_or(Ok(()), |mode| fs::set_permissions(&local, mode_of(mode)))?;
            times(&attrs).map_or(Ok(()), |times| open()?.set_times(times))
        })
        .await?;
        Ok(ok(id))
    }

    async fn fsetstat(
        &mut self,
        id: u32,
        handle: String,
        attrs: FileAttributes,
    ) -> Result<Status, Self::Error> {
        let file = self.file(&handle)?.0.clone();
        on_disk(move || {
            attrs.size.map_or(Ok(()), |size| resize(&file, size))?;
            attrs.permissions.map_or(Ok(()), |mode| file.set_permissions(mode_of(mode)))?;
            times(&attrs).map_or(Ok(()), |times| file.set_times(times))
        })
        .await?;
        Ok(ok(id))
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, Self::Error> {
        let local = self.local(&path);
        let files = on_disk(move || list(&local)).await?;
        self.keep(id, Open::Folder(files))
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, Self::Error> {
        let Some(Open::Folder(left)) = self.open.get_mut(&handle) else {
            return Err(failure("there is no such folder open"));
        };
        let mut files = left.split_off(left.len().saturating_sub(NAMES_AT_ONCE));
        files.reverse();
        if files.is_empty() { Err(StatusCode::Eof.into()) } else { Ok(Name { id, files }) }
    }

    async fn remove(&mut self, id: u32, filename: String) -> Result<Status, Self::Error> {
        let local = self.local(&filename);
        on_disk(move || fs::remove_file(local)).await?;
        Ok(ok(id))
    }

    async fn mkdir(&mut self, id: u32, path: String, _: FileAttributes) -> Result<Status, Self::Error> {
        let local = self.local(&path);
        on_disk(move || fs::create_dir(local)).await?;
        Ok(ok(id))
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Result<Status, Self::Error> {
        let local = self.local(&path);
        on_disk(move || fs::remove_dir(local)).await?;
        Ok(ok(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, Self::Error> {
        Ok(Name { id, files: vec![File::dummy(plain(&path))] })
    }

    async fn rename(&mut self, id: u32, oldpath: String, newpath: String) -> Result<Status, Self::Error> {
        let (from, to) = (self.local(&oldpath), self.local(&newpath));
        let found = on_disk(move || rename(&from, &to)).await?;
        let renamed_from = Some(plain(&oldpath));
        (self.told)(&Came { path: plain(&newpath), renamed_from, bytes: found.len() });
        Ok(ok(id))
    }
}
