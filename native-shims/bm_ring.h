/*
 * A small io_uring, used by one thread: reads of files and readiness of sockets. io_uring(7) has the rules of the shared rings: the
 * kernel reads the submission ring's tail and writes the completion ring's tail, so these are exchanged with acquire and release.
 */
#ifndef BM_RING_H
#define BM_RING_H

#include "bm_shim.h"

#include <linux/io_uring.h>
#include <stddef.h>

struct bm_ring {
    int fd;
    uint32_t unsubmitted;           /* entries in the submission ring that the kernel was not told of */
    uint32_t sq_entries;
    uint32_t sq_mask;
    uint32_t cq_mask;
    uint32_t *sq_head, *sq_tail;
    uint32_t *cq_head, *cq_tail;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    void *rings;                    /* both rings, one mapping */
    size_t rings_size, sqes_size;
};

/* The next free entry, cleared; NULL with errno set when none can be had. It is submitted by the next bm_ring_wait. */
struct io_uring_sqe *bm_ring_entry(struct bm_ring *ring);

/* Tells the kernel of all entries and waits, where asked to, for a completion; 0 or -errno. No timeout when negative (milliseconds). */
int32_t bm_ring_enter(struct bm_ring *ring, int wait, int64_t timeout_ms);

#endif
