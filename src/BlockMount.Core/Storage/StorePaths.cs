namespace BlockMount.Core.Storage;

/// <summary>Rules about paths that came out of files and may be hostile.</summary>
internal static class StorePaths
{
    /// <summary>Whether <paramref name="path"/> lies in <paramref name="folder"/>, by name alone; both absolute and normalised.</summary>
    public static bool IsInside(string path, string folder) =>
        path.StartsWith(folder.EndsWith('/') ? folder : folder + "/", StringComparison.Ordinal);
}
