#include "bm_shim.h"

#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <unistd.h>

/* 0 when this process may make an io_uring, else why not. */
int32_t bm_io_uring_probe(void)
{
    struct io_uring_params parameters = { 0 };
    long fd = syscall(SYS_io_uring_setup, 1, &parameters);
    if (fd == -1) {
        return -errno;
    }

    close((int)fd);
    return 0;
}
