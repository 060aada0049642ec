#include "bm_ring.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct io_uring_sqe *bm_ring_entry(struct bm_ring *ring)
{
    if (*ring->sq_tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE) == ring->sq_entries) {
        int32_t error = bm_ring_enter(ring, 0, -1);
        if (error < 0) {
            errno = -error;
            return NULL;
        }

        if (*ring->sq_tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE) == ring->sq_entries) {
            errno = EBUSY;
            return NULL;
        }
    }

    struct io_uring_sqe *entry = &ring->sqes[*ring->sq_tail & ring->sq_mask];
    memset(entry, 0, sizeof *entry);
    return entry;
}

int32_t bm_ring_enter(struct bm_ring *ring, int wait, int64_t timeout_ms)
{
    struct { int64_t seconds, nanoseconds; } limit = { timeout_ms / 1000, timeout_ms % 1000 * 1000000 };
    struct io_uring_getevents_arg argument = { .ts = timeout_ms < 0 ? 0 : (uint64_t)(uintptr_t)&limit };
    uint32_t flags = wait ? IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG : 0;
    long result = syscall(SYS_io_uring_enter, ring->fd, ring->unsubmitted, wait ? 1 : 0, flags, wait ? &argument : NULL, wait ? sizeof argument : 0);
    if (result == -1) {
        return -errno;
    }

    ring->unsubmitted -= (uint32_t)result;
    return 0;
}
