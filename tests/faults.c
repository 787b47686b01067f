/* Preloaded into a process of nst: counts its calls that change files, and spoils one of them.

   `arm(n, error)` starts to count. Before the call number n, the process is killed, or the call
   and all that write after it fail with `error` if that is not 0. `calls()` returns the count.
   NST_CLOCK=SECONDS shifts the wall clock; `shift_clock(seconds)` shifts it in a running process.
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static int armed, count, at, failure;

void arm(int n, int error) { count = 0, at = n, failure = error, armed = 1; }
int calls(void) { armed = 0; return count; }

static int spoilt(int writes) {
    if (!armed) return 0;
    count++;
    if (at && count == at && !failure) kill(getpid(), SIGKILL);
    if (at && count >= at && failure && writes) { errno = failure; return 1; }
    return 0;
}

/* Not the standard streams. */
static int regular(int fd) {
    struct stat status;
    return armed && fd > 2 && !fstat(fd, &status) && S_ISREG(status.st_mode);
}

#define NEXT(name) static __typeof__(&name) next; if (!next) next = dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *bytes, size_t size) {
    NEXT(write);
    return regular(fd) && spoilt(1) ? -1 : next(fd, bytes, size);
}
ssize_t pwrite(int fd, const void *bytes, size_t size, off_t place) {
    NEXT(pwrite);
    return regular(fd) && spoilt(1) ? -1 : next(fd, bytes, size, place);
}
ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t place) {
    NEXT(pwrite64);
    return regular(fd) && spoilt(1) ? -1 : next(fd, bytes, size, place);
}
int fsync(int fd) { NEXT(fsync); return spoilt(1) ? -1 : next(fd); }
int rename(const char *from, const char *to) { NEXT(rename); return spoilt(0) ? -1 : next(from, to); }
int unlink(const char *path) { NEXT(unlink); return spoilt(0) ? -1 : next(path); }
int rmdir(const char *path) { NEXT(rmdir); return spoilt(0) ? -1 : next(path); }
int ftruncate(int fd, off_t size) { NEXT(ftruncate); return spoilt(0) ? -1 : next(fd, size); }
int ftruncate64(int fd, off64_t size) { NEXT(ftruncate64); return spoilt(0) ? -1 : next(fd, size); }
int fchmod(int fd, mode_t mode) { NEXT(fchmod); return spoilt(0) ? -1 : next(fd, mode); }
int mkdir(const char *path, mode_t mode) { NEXT(mkdir); return spoilt(1) ? -1 : next(path, mode); }
int close(int fd) {
    NEXT(close);
    if (regular(fd) && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY) spoilt(0);
    return next(fd);
}

#define OPEN(name)                                                  \
    int name(const char *path, int flags, ...) {                    \
        NEXT(name);                                                 \
        va_list rest;                                               \
        va_start(rest, flags);                                      \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                               \
        if (flags & (O_CREAT | O_TRUNC) && spoilt(1)) return -1;    \
        return next(path, flags, mode);                             \
    }
OPEN(open)
OPEN(open64)

static long shift;
void shift_clock(long seconds) { shift = seconds; }
__attribute__((constructor)) static void start(void) {
    const char *text = getenv("NST_CLOCK");
    if (text) shift = atol(text);
}
int clock_gettime(clockid_t kind, struct timespec *now) {
    NEXT(clock_gettime);
    int code = next(kind, now);
    if (kind == CLOCK_REALTIME) now->tv_sec += shift;
    return code;
}
int gettimeofday(struct timeval *now, void *zone) {
    NEXT(gettimeofday);
    int code = next(now, zone);
    now->tv_sec += shift;
    return code;
}
time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
