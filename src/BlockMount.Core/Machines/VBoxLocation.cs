namespace BlockMount.Core.Machines;

/// <summary>Turns the location of an image in a machine file into a path of this system, by its letters only.</summary>
internal static class VBoxLocation
{
    private static readonly char[] Separators = ['/', '\\'];

    /// <summary>The last part of a location in either style.</summary>
    public static string FileNameOf(string location) => location[(location.LastIndexOfAny(Separators) + 1)..];

    /// <param name="location">As written.</param>
    /// <param name="folder">Absolute path of the folder of the machine file.</param>
    /// <returns>An absolute path, or null when the location is absolute in the style of another system.</returns>
    public static string? Resolve(string location, string folder)
    {
        var isWindows = OperatingSystem.IsWindows();
        if (isWindows ? location.StartsWith('/') : IsWindowsAbsolute(location))
        {
            return null;
        }

        // A machine that came from Windows keeps its backslashes; image names that contain one are not worth losing those for.
        var path = isWindows || location.StartsWith('/') ? location : location.Replace('\\', '/');
        return Path.GetFullPath(path, folder);
    }

    private static bool IsWindowsAbsolute(string location) =>
        location.StartsWith('\\') || (location.Length >= 3 && char.IsAsciiLetter(location[0]) && location[1] == ':' && location[2] is '/' or '\\');
}
