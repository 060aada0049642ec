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

    /// <summary>Every code and what it says, in one sentence.</summary>
    public static IReadOnlyList<(int Code, string Meaning)> Meanings { get; } =
    [
        (Done, "Done."),
        (Failed, "Failed; one sentence on standard error says why."),
        (Usage, "The command line makes no sense."),
        (NotAnImage, "Not an image that can be opened, or a broken chain."),
        (PermissionOrBusy, "Not permitted, or in use."),
        (HostLacks, "The host lacks something: a module, a driver or a tool."),
        (Differs, "What was verified differs."),
    ];

    public static int For(DiskException error) => error.Kind switch
    {
        ErrorKind.InvalidArgument => Usage,
        ErrorKind.NotThisFormat or ErrorKind.UnsupportedFeature or ErrorKind.CorruptImage or ErrorKind.BrokenChain => NotAnImage,
        ErrorKind.Busy or ErrorKind.AccessDenied or ErrorKind.ReadOnly => PermissionOrBusy,
        ErrorKind.HostLacks => HostLacks,
        _ => Failed,
    };
}
