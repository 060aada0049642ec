using BlockMount.Core.Errors;
using BlockMount.Core.Formats;
using BlockMount.Core.Storage;

namespace BlockMount.Host.Images;

/// <summary>Makes new image files; never overwrites and leaves no half-made file behind.</summary>
internal sealed class ImageCreator(IStoreProvider provider)
{
    /// <summary>The format named, or the one the file's extension stands for.</summary>
    /// <param name="path">The file to be made.</param>
    /// <param name="name">What the user said, or null.</param>
    /// <param name="option">Where the user can say it.</param>
    /// <exception cref="DiskException">Neither says.</exception>
    public static ImageFormat FormatFor(string path, string? name, string option) =>
        name is not null
            ? FormatRegistry.ByName(name)
            : FormatRegistry.ByExtension(path) ?? throw new DiskException(
                ErrorKind.InvalidArgument,
                $"{path}: its extension names no format; add {option} with one of {string.Join(", ", FormatRegistry.All.Select(f => f.Name))}.");

    /// <exception cref="DiskException">The file exists, an option is not allowed, or the host failed.</exception>
    public async Task CreateAsync(string path, ImageFormat format, ImageCreateOptions options, CancellationToken cancellationToken)
    {
        await using var store = await provider.CreateAsync(path, cancellationToken);
        try
        {
            await format.CreateAsync(store, new ImageContext(provider), options, cancellationToken);
        }
        catch
        {
            provider.Delete(path);
            throw;
        }
    }

    /// <summary>Makes an image that is filled while it is made.</summary>
    /// <exception cref="DiskException">The file exists, an option is not allowed, or the host or <paramref name="fill"/> failed.</exception>
    public async Task FillAsync(
        string path, ImageFormat format, ImageCreateOptions options, Func<SequentialImage, Task> fill, CancellationToken cancellationToken)
    {
        await using var store = await provider.CreateAsync(path, cancellationToken);
        try
        {
            await fill(await format.BeginAsync(store, new ImageContext(provider), options, cancellationToken));
        }
        catch
        {
            provider.Delete(path);
            throw;
        }
    }

    /// <summary>Removes every file that <see cref="CreateAsync"/> made.</summary>
    public void Delete(string path, ImageFormat format, ImageCreateOptions options)
    {
        foreach (var file in format.FilesFor(path, options))
        {
            provider.Delete(file);
        }
    }
}
