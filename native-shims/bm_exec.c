#include "bm_shim.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Becomes another program: the arguments are so many texts, each with its NUL, one behind another, the first the program's name. Returns only when
 * that fails. Every other thread ends with it, so that nothing may be under way.
 */
int32_t bm_exec(const char *path, const char *arguments, int32_t count)
{
    char **list = calloc((size_t)count + 1, sizeof *list);
    if (list == NULL) {
        return -ENOMEM;
    }

    for (int32_t i = 0; i < count; i++) {
        list[i] = (char *)arguments;
        arguments += strlen(arguments) + 1;
    }

    execv(path, list);
    int error = errno;
    free(list);
    return -error;
}
