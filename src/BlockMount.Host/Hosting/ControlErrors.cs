using System.Text.Json;
using BlockMount.Core.Errors;
using Microsoft.AspNetCore.Http;

namespace BlockMount.Host.Hosting;

/// <summary>The one place where the project's errors become HTTP's, and come back.</summary>
internal static class ControlErrors
{
    public static int StatusOf(Exception error) => error switch
    {
        BadHttpRequestException bad => bad.StatusCode,
        OperationCanceledException => StatusCodes.Status503ServiceUnavailable,
        DiskException disk => StatusOf(disk.Kind),
        _ => StatusCodes.Status500InternalServerError,
    };

    /// <summary>The kind of error as it is written: <c>not_found</c>.</summary>
    public static string NameOf(Exception error) => error switch
    {
        DiskException disk => NameOf(disk.Kind),
        OperationCanceledException => NameOf(ErrorKind.ShuttingDown),
        BadHttpRequestException => NameOf(ErrorKind.InvalidArgument),
        _ => NameOf(ErrorKind.Io),
    };

    /// <summary>The kind that <see cref="NameOf(Exception)"/> wrote; <see cref="ErrorKind.Io"/> for one that only a newer host knows.</summary>
    public static ErrorKind KindOf(string name) => Enum.GetValues<ErrorKind>().FirstOrDefault(k => NameOf(k) == name);

    private static string NameOf(ErrorKind kind) => JsonNamingPolicy.SnakeCaseLower.ConvertName(kind.ToString());

    private static int StatusOf(ErrorKind kind) => kind switch
    {
        ErrorKind.InvalidArgument or ErrorKind.OutOfRange => StatusCodes.Status400BadRequest,
        ErrorKind.ReadOnly or ErrorKind.AccessDenied => StatusCodes.Status403Forbidden,
        ErrorKind.NotFound => StatusCodes.Status404NotFound,
        ErrorKind.Busy or ErrorKind.AlreadyExists => StatusCodes.Status409Conflict,
        ErrorKind.NotThisFormat or ErrorKind.UnsupportedFeature or ErrorKind.CorruptImage or ErrorKind.BrokenChain => StatusCodes.Status422UnprocessableEntity,
        ErrorKind.HostLacks => StatusCodes.Status501NotImplemented,
        ErrorKind.ShuttingDown => StatusCodes.Status503ServiceUnavailable,
        ErrorKind.NoSpace => StatusCodes.Status507InsufficientStorage,
        _ => StatusCodes.Status500InternalServerError,
    };
}
