#include "bm_ring.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Only when no read is under way: the kernel would still write to its buffer. */
int32_t bm_ring_close(struct bm_ring *ring)
{
    munmap(ring->sqes, ring->sqes_size);
    munmap(ring->rings, ring->rings_size);
    close(ring->fd);
    free(ring);
    return 0;
}
