using BlockMount.Core.Errors;
using BlockMount.Host.Hosting;

namespace BlockMount.Host.Commands;

/// <summary>Tells a user whose image is in use that a host of theirs can do the work meanwhile.</summary>
internal static class LiveHint
{
    /// <exception cref="DiskException">The image cannot be opened.</exception>
    public static async Task<T> OpenAsync<T>(string image, Func<Task<T>> open, CancellationToken cancellationToken)
    {
        try
        {
            return await open();
        }
        catch (DiskException e) when (e.Kind is ErrorKind.Busy or ErrorKind.NotFound)
        {
            // Of a name that is no file, the user may have meant an export.
            if (await ExportFinder.ServedAsAsync(image, cancellationToken) is { } served)
            {
                throw new DiskException(e.Kind, $"{image}: it is in use. {served}; add --live to have it done there, while it is used.", e);
            }

            if (e.Kind == ErrorKind.NotFound && await IsExportAsync(image, cancellationToken))
            {
                throw new DiskException(e.Kind, $"{image}: there is no such file, but an export of a running host is called that; add --live to have it done there, while it is used.", e);
            }

            throw;
        }
    }

    private static async Task<bool> IsExportAsync(string name, CancellationToken cancellationToken) =>
        (await RunningHosts.ListAsync(cancellationToken)).Any(h => h.Exports.Any(e => e.Name.Length > 0 && e.Name == name));
}
