#include "bm_ring.h"

#include <poll.h>

/* Queues one question: its completion says that the socket can be read (or, for write, written) or is broken. */
int32_t bm_ring_poll(struct bm_ring *ring, int32_t socket, int32_t write, uint64_t tag)
{
    struct io_uring_sqe *entry = bm_ring_entry(ring);
    if (entry == NULL) {
        return -errno;
    }

    uint32_t events = write ? POLLOUT : POLLIN;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    /* io_uring_enter(2): the two halves of poll32_events are swapped there. */
    events = events << 16 | events >> 16;
#endif
    entry->opcode = IORING_OP_POLL_ADD;
    entry->fd = socket;
    entry->poll32_events = events;
    entry->user_data = tag;
    __atomic_store_n(ring->sq_tail, *ring->sq_tail + 1, __ATOMIC_RELEASE);
    ring->unsubmitted++;
    return 0;
}
