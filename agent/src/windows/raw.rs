//! Calls to Windows that no safe crate has. Invariant: each is one safe function that checks what it hands over and what
//! comes back, frees what it got, and decides nothing.

use std::ffi::{OsStr, OsString, c_void};
use std::io;
use std::os::windows::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{CloseHandle, ERROR_SUCCESS, HANDLE, HLOCAL, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW, ConvertSidToStringSidW,
    ConvertStringSecurityDescriptorToSecurityDescriptorW, GetNamedSecurityInfoW, SDDL_REVISION_1,
    SE_FILE_OBJECT,
};
use windows_sys::Win32::Security::Cryptography::{
    CRYPT_INTEGER_BLOB, CRYPTPROTECT_LOCAL_MACHINE, CRYPTPROTECT_UI_FORBIDDEN, CryptProtectData,
    CryptUnprotectData,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GROUP_SECURITY_INFORMATION, GetTokenInformation, OWNER_SECURITY_INFORMATION,
    PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, SECURITY_ATTRIBUTES, SetFileSecurityW,
    TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::Storage::FileSystem::CreateDirectoryW;
use windows_sys::Win32::System::EventLog::{DeregisterEventSource, RegisterEventSourceW, ReportEventW};
use windows_sys::Win32::System::Registry::{
    HKEY, REG_NOTIFY_CHANGE_LAST_SET, REG_NOTIFY_CHANGE_NAME, RegNotifyChangeKeyValue,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThread, OpenProcessToken, SetThreadPriority, THREAD_MODE_BACKGROUND_BEGIN,
    THREAD_MODE_BACKGROUND_END,
};
use windows_sys::Win32::UI::Shell::{FOLDERID_ProgramData, KF_FLAG_DEFAULT, SHGetKnownFolderPath};
use windows_sys::core::PWSTR;

/// Something that Windows gave and wants back by `LocalFree`.
struct Local(HLOCAL);

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: it came from a call whose result is to be freed so, and is freed once.
        unsafe { LocalFree(self.0) };
    }
}

/// A handle that is closed at its end.
struct Open(HANDLE);

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: the handle is this value's own and open.
        unsafe { CloseHandle(self.0) };
    }
}

fn wide(text: &OsStr) -> Vec<u16> {
    text.encode_wide().take_while(|unit| *unit != 0).chain([0]).collect()
}

/// Text that ends with a zero.
///
/// # Safety
/// `text` points at UTF-16 that ends with a zero.
unsafe fn from_wide(text: *const u16) -> OsString {
    let mut length = 0;
    // SAFETY: the caller says that there is a zero at its end, and nothing behind it is read.
    let units = unsafe {
        while *text.add(length) != 0 {
            length += 1;
        }
        std::slice::from_raw_parts(text, length)
    };
    OsString::from_wide(units)
}

fn checked(ok: i32) -> io::Result<()> {
    if ok == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Owner, group and access list of a file or folder, as SDDL.
///
/// # Errors
/// When they cannot be read.
pub fn access_of(path: &Path) -> io::Result<String> {
    let what = OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
    let path = wide(path.as_os_str());
    let mut descriptor: PSECURITY_DESCRIPTOR = null_mut();
    // SAFETY: the path ends with a zero, and each place for an answer is one or null, as the call allows.
    let status = unsafe {
        GetNamedSecurityInfoW(
            path.as_ptr(),
            SE_FILE_OBJECT,
            what,
            null_mut(),
            null_mut(),
            null_mut(),
            null_mut(),
            &raw mut descriptor,
        )
    };
    if status != ERROR_SUCCESS {
        return Err(io::Error::from_raw_os_error(i32::try_from(status).unwrap_or(i32::MAX)));
    }
    let descriptor = Local(descriptor);
    let mut text: PWSTR = null_mut();
    // SAFETY: the descriptor is the one just given; the text is freed below.
    let ok = unsafe {
        ConvertSecurityDescriptorToStringSecurityDescriptorW(
            descriptor.0,
            SDDL_REVISION_1,
            what,
            &raw mut text,
            null_mut(),
        )
    };
    checked(ok)?;
    let text = Local(text.cast());
    // SAFETY: the call gave a text that ends with a zero.
    Ok(unsafe { from_wide(text.0.cast()) }.to_string_lossy().into_owned())
}

fn descriptor(sddl: &str) -> io::Result<Local> {
    let sddl = wide(OsStr::new(sddl));
    let mut descriptor: PSECURITY_DESCRIPTOR = null_mut();
    // SAFETY: the text ends with a zero; what is given is freed with the value.
    let ok = unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            sddl.as_ptr(),
            SDDL_REVISION_1,
            &raw mut descriptor,
            null_mut(),
        )
    };
    checked(ok).map(|()| Local(descriptor))
}

/// Makes a folder that has this access list (SDDL) from its first instant.
///
/// # Errors
/// When it cannot be made, or is there.
pub fn create_folder(path: &Path, sddl: &str) -> io::Result<()> {
    let descriptor = descriptor(sddl)?;
    let attributes = SECURITY_ATTRIBUTES {
        nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).unwrap_or_default(),
        lpSecurityDescriptor: descriptor.0,
        bInheritHandle: 0,
    };
    let path = wide(path.as_os_str());
    // SAFETY: the path ends with a zero, and the attributes live until the call is over.
    checked(unsafe { CreateDirectoryW(path.as_ptr(), &raw const attributes) })
}

/// Gives a file or folder this access list (SDDL) and nothing inherited.
///
/// # Errors
/// When this process may not.
pub fn set_access(path: &Path, sddl: &str) -> io::Result<()> {
    let descriptor = descriptor(sddl)?;
    let path = wide(path.as_os_str());
    let what = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
    // SAFETY: the path ends with a zero, and the descriptor lives until the call is over.
    checked(unsafe { SetFileSecurityW(path.as_ptr(), what, descriptor.0) })
}

/// The account that this process runs as (`S-1-5-18`).
///
/// # Errors
/// When the system does not say.
pub fn own_account() -> io::Result<String> {
    let mut token: HANDLE = null_mut();
    // SAFETY: a process may open its own token; the handle is closed with the value.
    checked(unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) })?;
    let token = Open(token);
    let mut length = 0;
    // SAFETY: with no room it only says how much is needed.
    unsafe { GetTokenInformation(token.0, TokenUser, null_mut(), 0, &raw mut length) };
    // Words of eight bytes, so that the structure stands on its boundary.
    let mut room = vec![0_u64; usize::try_from(length).unwrap_or_default().div_ceil(8)];
    // SAFETY: the room has the length that is named.
    checked(unsafe {
        GetTokenInformation(token.0, TokenUser, room.as_mut_ptr().cast(), length, &raw mut length)
    })?;
    if room.len() * 8 < size_of::<TOKEN_USER>() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text: PWSTR = null_mut();
    // SAFETY: the call above filled the room with such a structure, whose account lies within it.
    checked(unsafe {
        let user = &*room.as_ptr().cast::<TOKEN_USER>();
        ConvertSidToStringSidW(user.User.Sid, &raw mut text)
    })?;
    let text = Local(text.cast());
    // SAFETY: the call gave a text that ends with a zero.
    Ok(unsafe { from_wide(text.0.cast()) }.to_string_lossy().into_owned())
}

/// The folder of data that all accounts share, wherever it was moved to.
///
/// # Errors
/// When the system does not say.
pub fn program_data() -> io::Result<PathBuf> {
    let mut text: PWSTR = null_mut();
    // SAFETY: the place for the answer is one; it is freed below, as it has to be even after a failure.
    unsafe {
        let status =
            SHGetKnownFolderPath(&FOLDERID_ProgramData, KF_FLAG_DEFAULT as u32, null_mut(), &raw mut text);
        let path = (status >= 0 && !text.is_null()).then(|| PathBuf::from(from_wide(text)));
        windows_sys::Win32::System::Com::CoTaskMemFree(text as *const c_void);
        path.ok_or_else(|| io::Error::from_raw_os_error(status))
    }
}

fn blob(bytes: &[u8]) -> io::Result<CRYPT_INTEGER_BLOB> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    // The calls read it and do not write.
    Ok(CRYPT_INTEGER_BLOB { cbData: length, pbData: bytes.as_ptr().cast_mut() })
}

fn taken(blob: &CRYPT_INTEGER_BLOB) -> Vec<u8> {
    let bytes = Local(blob.pbData.cast());
    let length = usize::try_from(blob.cbData).unwrap_or_default();
    // SAFETY: the call that filled the blob gave so many bytes, which are freed at the end of this function.
    unsafe { std::slice::from_raw_parts(bytes.0.cast::<u8>(), length) }.to_vec()
}

const QUIET: u32 = CRYPTPROTECT_LOCAL_MACHINE | CRYPTPROTECT_UI_FORBIDDEN;

/// Bytes that only this machine can open again (DPAPI, machine scope).
///
/// # Errors
/// When the system cannot.
pub fn protect(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = CRYPT_INTEGER_BLOB { cbData: 0, pbData: null_mut() };
    let given = blob(bytes)?;
    // SAFETY: both blobs live until the call is over; what it gives is freed in `taken`.
    checked(unsafe {
        CryptProtectData(&raw const given, null(), null(), null(), null(), QUIET, &raw mut out)
    })?;
    Ok(taken(&out))
}

/// What [`protect`] hid on this machine.
///
/// # Errors
/// When it was hidden on another one, or is damaged.
pub fn unprotect(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = CRYPT_INTEGER_BLOB { cbData: 0, pbData: null_mut() };
    let given = blob(bytes)?;
    // SAFETY: as in `protect`.
    checked(unsafe {
        CryptUnprotectData(&raw const given, null_mut(), null(), null(), null(), QUIET, &raw mut out)
    })?;
    Ok(taken(&out))
}

/// Writes a line to the event log, under a source that the installer registered.
///
/// # Errors
/// When the log does not take it.
pub fn write_event(source: &str, kind: u16, id: u32, text: &str) -> io::Result<()> {
    let (source, text) = (wide(OsStr::new(source)), wide(OsStr::new(text)));
    // SAFETY: the texts end with a zero and live until the calls are over; the handle is closed once.
    unsafe {
        let log = RegisterEventSourceW(null(), source.as_ptr());
        if log.is_null() {
            return Err(io::Error::last_os_error());
        }
        let texts = [text.as_ptr()];
        let written = checked(ReportEventW(log, kind, 0, id, null_mut(), 1, 0, texts.as_ptr(), null()));
        DeregisterEventSource(log);
        written
    }
}

/// Waits until a name or value of an open registry key changes, or, with `below`, anything beneath it. The key must have
/// been opened with the right to notify.
///
/// # Errors
/// When the key is gone.
pub fn wait_for_change(key: &winreg::RegKey, below: bool) -> io::Result<()> {
    let key: HKEY = key.raw_handle();
    // SAFETY: the handle is open as long as the key that is lent; no event is handed over, so the call waits.
    let status = unsafe {
        RegNotifyChangeKeyValue(
            key,
            i32::from(below),
            REG_NOTIFY_CHANGE_NAME | REG_NOTIFY_CHANGE_LAST_SET,
            null_mut(),
            0,
        )
    };
    match status {
        ERROR_SUCCESS => Ok(()),
        status => Err(io::Error::from_raw_os_error(i32::try_from(status).unwrap_or(i32::MAX))),
    }
}

/// Does something on this thread behind everything else that wants processor, disk or memory.
pub fn in_background<T>(what: impl FnOnce() -> T) -> T {
    // SAFETY: both calls change the priority of this thread alone.
    let is_lowered = unsafe { SetThreadPriority(GetCurrentThread(), THREAD_MODE_BACKGROUND_BEGIN) } != 0;
    let done = what();
    if is_lowered {
        // SAFETY: as above.
        unsafe { SetThreadPriority(GetCurrentThread(), THREAD_MODE_BACKGROUND_END) };
    }
    done
}
