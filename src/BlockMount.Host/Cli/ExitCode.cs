using BlockMount.Core.Errors;

namespace BlockMount.Host.Cli;

/// <summary>What the program's exit code says; scripts rely on the numbers.</summary>
internal static class ExitCode
{
    public const int Done = 0;
    public const int Failed = 1;
    public const int Usage = 2;
    public const int NotAnImage = 3;
    public const int PermissionOrBusy = 4;
    public const int HostLacks = 5;
    public const int Differs = 6;

    public static int For(DiskException error) => error.Kind switch
    {
        ErrorKind.InvalidArgument => Usage,
        ErrorKind.NotThisFormat or ErrorKind.UnsupportedFeature or ErrorKind.CorruptImage or ErrorKind.BrokenChain => NotAnImage,
        ErrorKind.Busy or ErrorKind.AccessDenied or ErrorKind.ReadOnly => PermissionOrBusy,
        ErrorKind.HostLacks => HostLacks,
        _ => Failed,
    };
}
