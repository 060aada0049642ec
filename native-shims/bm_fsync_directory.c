#include "bm_shim.h"

#include <fcntl.h>
#include <unistd.h>

/* The names in the directory are durable. */
int32_t bm_fsync_directory(const char *path)
{
    int fd;
    BM_RETRY(fd, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd == -1) {
        return -errno;
    }

    int result;
    BM_RETRY(result, fsync(fd));
    int error = result == -1 ? errno : 0;
    close(fd);
    return -error;
}
