#include "bm_shim.h"

#include <sys/prctl.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

/*
 * Marks the calling thread as one that memory reclaim may wait for: what the kernel allocates on its behalf then never waits for I/O. Threads
 * and programs that it starts later inherit that; threads that run already do not.
 */
int32_t bm_io_flusher_set(int32_t on)
{
    return prctl(PR_SET_IO_FLUSHER, on, 0, 0, 0) == -1 ? -errno : 0;
}
