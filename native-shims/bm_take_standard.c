#include "bm_shim.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_same(const struct stat *one, const struct stat *other)
{
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

static int32_t redirect(const struct stat facts[3])
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null == -1) {
        return -errno;
    }

    /* inetd puts its socket on all three, and a log has no place in a protocol. */
    bool is_shared = is_same(&facts[2], &facts[0]) || is_same(&facts[2], &facts[1]);
    int32_t result = (is_shared && dup2(null, STDERR_FILENO) == -1) || dup2(null, STDIN_FILENO) == -1
        || dup2(STDERR_FILENO, STDOUT_FILENO) == -1 ? -errno : 0;
    close(null);
    return result;
}

int32_t bm_take_standard(int32_t *input, int32_t *output)
{
    struct stat facts[3];
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fstat(fd, &facts[fd]) == -1) {
            return -errno;
        }
    }

    bool is_one_socket = S_ISSOCK(facts[0].st_mode) && is_same(&facts[0], &facts[1]);
    *output = -1;
    *input = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (*input == -1) {
        return -errno;
    }
    if (!is_one_socket) {
        *output = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    }

    int32_t result = !is_one_socket && *output == -1 ? -errno : redirect(facts);
    if (result < 0) {
        close(*input);
        if (*output != -1) {
            close(*output);
        }
    }
    return result;
}
