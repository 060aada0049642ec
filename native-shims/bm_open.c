#include "bm_shim.h"

#include <fcntl.h>
#include <unistd.h>

/*
 * O_NONBLOCK keeps a FIFO that replaced the file from blocking the open; it is taken off again, since only the open needs it.
 */
int32_t bm_open(const char *path, int32_t flags)
{
    int mode = O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    mode |= (flags & BM_OPEN_WRITE) ? O_RDWR : O_RDONLY;
    mode |= (flags & BM_OPEN_CREATE) ? O_CREAT | O_EXCL : 0;
    mode |= (flags & BM_OPEN_NOFOLLOW) ? O_NOFOLLOW : 0;
    mode |= (flags & BM_OPEN_NOATIME) ? O_NOATIME : 0;
    mode |= (flags & BM_OPEN_CLAIM) ? O_EXCL : 0;
    mode |= (flags & BM_OPEN_DIRECT) ? O_DIRECT : 0;

    int fd;
    BM_RETRY(fd, open(path, mode, 0644));
    if (fd == -1) {
        return -errno;
    }

    int status = fcntl(fd, F_GETFL);
    if (status == -1 || fcntl(fd, F_SETFL, status & ~O_NONBLOCK) == -1) {
        int error = errno;
        close(fd);
        return -error;
    }

    return fd;
}
