#include "bm_shim.h"

#include <fcntl.h>

int32_t bm_adopt(int32_t fd)
{
    int own = fcntl(fd, F_GETFD);
    if (own == -1 || fcntl(fd, F_SETFD, own | FD_CLOEXEC) == -1) {
        return -errno;
    }

    int shared = fcntl(fd, F_GETFL);
    return shared == -1 || fcntl(fd, F_SETFL, shared & ~O_NONBLOCK) == -1 ? -errno : 0;
}
