#include "bm_ring.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int map_rings(struct bm_ring *ring, const struct io_uring_params *p)
{
    size_t sq = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
    size_t cq = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
    ring->rings_size = sq > cq ? sq : cq;
    ring->rings = mmap(NULL, ring->rings_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQ_RING);
    if (ring->rings == MAP_FAILED) {
        return -1;
    }

    ring->sqes_size = p->sq_entries * sizeof(struct io_uring_sqe);
    ring->sqes = mmap(NULL, ring->sqes_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
    if (ring->sqes == MAP_FAILED) {
        munmap(ring->rings, ring->rings_size);
        return -1;
    }

    char *base = ring->rings;
    ring->sq_entries = p->sq_entries;
    ring->sq_head = (uint32_t *)(base + p->sq_off.head);
    ring->sq_tail = (uint32_t *)(base + p->sq_off.tail);
    ring->sq_mask = *(uint32_t *)(base + p->sq_off.ring_mask);
    ring->cq_head = (uint32_t *)(base + p->cq_off.head);
    ring->cq_tail = (uint32_t *)(base + p->cq_off.tail);
    ring->cq_mask = *(uint32_t *)(base + p->cq_off.ring_mask);
    ring->cqes = (struct io_uring_cqe *)(base + p->cq_off.cqes);

    /* The array maps a place in the ring to an entry; each place keeps its own. */
    uint32_t *array = (uint32_t *)(base + p->sq_off.array);
    for (uint32_t i = 0; i < p->sq_entries; i++) {
        array[i] = i;
    }

    return 0;
}

/* A ring for at most that many operations under way at once, to be used by the calling thread alone. */
int32_t bm_ring_open(uint32_t entries, struct bm_ring **opened)
{
    /* Completions wait until the owner asks for them and disturb nobody: since Linux 6.1. */
    const uint32_t quiet = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    const uint32_t needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
    struct bm_ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL) {
        return -ENOMEM;
    }

    struct io_uring_params parameters = { .flags = quiet };
    ring->fd = (int)syscall(SYS_io_uring_setup, entries, &parameters);
    if (ring->fd == -1 && errno == EINVAL) {
        parameters = (struct io_uring_params){ 0 };
        ring->fd = (int)syscall(SYS_io_uring_setup, entries, &parameters);
    }

    int32_t error;
    if (ring->fd == -1) {
        error = -errno;
    } else if ((parameters.features & needed) != needed) {
        error = -EOPNOTSUPP;
    } else if (map_rings(ring, &parameters) == -1) {
        error = -errno;
    } else {
        *opened = ring;
        return 0;
    }

    if (ring->fd != -1) {
        close(ring->fd);
    }

    free(ring);
    return error;
}
