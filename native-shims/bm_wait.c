#include "bm_shim.h"

#include <poll.h>
#include <time.h>

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int32_t bm_wait(int32_t fd, int32_t direction, int32_t event, int32_t milliseconds)
{
    struct pollfd both[2] = {
        { .fd = fd, .events = direction == BM_WAIT_WRITE ? POLLOUT : POLLIN },
        { .fd = event, .events = POLLIN },
    };
    int64_t end = now_ms() + milliseconds;
    for (;;) {
        int64_t left = milliseconds < 0 ? -1 : end - now_ms();
        int ready = poll(both, 2, milliseconds < 0 ? -1 : left > 0 ? (int)left : 0);
        if (ready == -1 && errno != EINTR) {
            return -errno;
        }
        if (ready == 0) {
            return BM_WAIT_TIMED_OUT;
        }
        if (ready > 0) {
            return both[0].revents != 0 ? BM_WAIT_READY : BM_WAIT_EVENT;
        }
    }
}
