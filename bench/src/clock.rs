//! Clocks of the kernel that the standard library does not read: the CPU time of another process, and the monotonic clock as a
//! number that two processes can compare.

use std::mem::MaybeUninit;
use std::time::Duration;

use anyhow::{Result, ensure};

/// The CPU time of a process over all of its threads, also those that have ended. The kernel counts it in nanoseconds;
/// `/proc/PID/stat` has the same sum in steps of 10 ms.
#[expect(unsafe_code, reason = "neither the standard library nor rustix reads the CPU clock of another process")]
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let mut clock = MaybeUninit::uninit();
    // SAFETY: the pointer is valid for writes during the call.
    let error = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), clock.as_mut_ptr()) };
    ensure!(error == 0, "process {pid} has no CPU clock: {}", std::io::Error::from_raw_os_error(error));
    // SAFETY: the call above succeeded, so it has written the clock.
    read(unsafe { clock.assume_init() })
}

/// The time since an arbitrary point that is the same in every process until the machine restarts.
pub(crate) fn monotonic() -> Result<Duration> {
    read(libc::CLOCK_MONOTONIC)
}

#[expect(unsafe_code, reason = "clock_gettime is a call of the C library")]
fn read(clock: libc::clockid_t) -> Result<Duration> {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is valid for writes during the call.
    let failed = unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } != 0;
    ensure!(!failed, "cannot read a clock: {}", std::io::Error::last_os_error());
    // SAFETY: the call above succeeded, so it has written the time.
    let time = unsafe { time.assume_init() };
    Ok(Duration::new(time.tv_sec.try_into()?, time.tv_nsec.try_into()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_a_thread_that_ended_is_counted() {
        let before = cpu_time(std::process::id()).unwrap();
        std::thread::spawn(|| {
            let sum = (0..1_000_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n));
            assert_eq!(sum, 0, "of 0 to 4k - 1, each bit is set an even number of times");
        })
        .join()
        .unwrap();
        assert!(cpu_time(std::process::id()).unwrap() > before);
    }

    #[test]
    fn a_process_that_does_not_exist_is_an_error() {
        // Above the highest number of a process, 4,194,304 (proc(5), pid_max).
        let error = cpu_time(4_200_000).unwrap_err().to_string();
        assert!(error.starts_with("process 4200000 has no CPU clock"), "{error}");
    }

    #[test]
    fn the_monotonic_clock_does_not_run_backwards() {
        let first = monotonic().unwrap();
        assert!(monotonic().unwrap() >= first);
    }
}
