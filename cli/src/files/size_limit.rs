//! The largest file that the system lets this process write (`ulimit -f`).

/// Makes a write beyond the limit an error with the file and the remedy: otherwise the system ends the process by the
/// signal SIGXFSZ, in the middle of whatever it writes.
pub fn report_as_error() {
    #[cfg(unix)]
    // SAFETY: no function of this program is called by the signal, which is ignored from here on.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}
