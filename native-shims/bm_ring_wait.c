#include "bm_ring.h"

/*
 * Submits what is queued, waits for at least one completion and takes up to most of them. Without a limit when timeout_ms is
 * negative; 0 completions when it ran out, or when a signal came.
 */
int32_t bm_ring_wait(struct bm_ring *ring, int64_t timeout_ms, struct bm_completion *completions, int32_t most)
{
    uint32_t head = *ring->cq_head;
    int here = head != __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE);
    if (!here || ring->unsubmitted > 0) {
        int32_t error = bm_ring_enter(ring, 1, here ? 0 : timeout_ms);
        if (error < 0 && error != -ETIME && error != -EINTR && error != -EAGAIN && error != -EBUSY) {
            return error;
        }
    }

    int32_t taken = 0;
    while (taken < most && head != __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE)) {
        const struct io_uring_cqe *done = &ring->cqes[head++ & ring->cq_mask];
        completions[taken].tag = done->user_data;
        completions[taken++].result = done->res;
    }

    __atomic_store_n(ring->cq_head, head, __ATOMIC_RELEASE);
    return taken;
}
