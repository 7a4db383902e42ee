/* Preloaded into a program, moves its clocks by as many seconds as the file CLOCK_OFFSETS says: three numbers of 64
 * bits, the first for the wall clock, the second for the clock that counts the time in which the machine sleeps, the
 * third for the one that does not. The file may be written to at any time. What the system itself waits for is left
 * alone, and so are all other clocks. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *offsets;

__attribute__((constructor)) static void map_offsets(void) {
    const char *path = getenv("CLOCK_OFFSETS");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = mmap(NULL, 3 * sizeof *offsets, PROT_READ, MAP_SHARED, file, 0);
    /* What cannot be mapped ends the program, so that no test takes the real clocks for moved ones. */
    if (mapped == MAP_FAILED) abort();
    offsets = mapped;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && offsets && clock == CLOCK_REALTIME) time->tv_sec += offsets[0];
    if (result == 0 && offsets && clock == CLOCK_BOOTTIME) time->tv_sec += offsets[1];
    if (result == 0 && offsets && clock == CLOCK_MONOTONIC) time->tv_sec += offsets[2];
    return result;
}
