#include "bm_ring.h"

/* Queues a read; the buffer must stay in place until its completion. A tag is any number but 0. */
int32_t bm_ring_read(struct bm_ring *ring, int32_t fd, void *buffer, uint32_t length, int64_t offset, uint64_t tag)
{
    struct io_uring_sqe *entry = bm_ring_entry(ring);
    if (entry == NULL) {
        return -errno;
    }

    entry->opcode = IORING_OP_READ;
    entry->fd = fd;
    entry->addr = (uint64_t)(uintptr_t)buffer;
    entry->len = length;
    entry->off = (uint64_t)offset;
    entry->user_data = tag;
    __atomic_store_n(ring->sq_tail, *ring->sq_tail + 1, __ATOMIC_RELEASE);
    ring->unsubmitted++;
    return 0;
}
