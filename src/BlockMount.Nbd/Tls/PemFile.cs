using BlockMount.Core.Errors;

namespace BlockMount.Nbd.Tls;

/// <summary>Reads the text of a PEM file.</summary>
internal static class PemFile
{
    /// <summary>Characters; a bundle of every public authority has a quarter of that.</summary>
    private const int MaxLength = 1 << 20;

    /// <exception cref="DiskException">It cannot be read, or is longer than 1 MiB.</exception>
    public static string Read(string path)
    {
        try
        {
            using var reader = new StreamReader(path);
            var text = new char[MaxLength + 1];
            var length = reader.ReadBlock(text);
            return length <= MaxLength
                ? new string(text, 0, length)
                : throw new DiskException(ErrorKind.InvalidArgument, $"{path}: it is longer than 1 MiB, which no PEM file here needs.") { Path = path };
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new DiskException(ErrorKind.NotFound, $"{path}: there is no such file; --tls-certificates needs {TlsCertificates.AuthorityFile}, {TlsCertificates.CertificateFile} and {TlsCertificates.KeyFile}.", e) { Path = path };
        }
        catch (UnauthorizedAccessException e)
        {
            throw new DiskException(ErrorKind.AccessDenied, $"{path}: it may not be read ({e.Message.TrimEnd('.')}).", e) { Path = path };
        }
        catch (IOException e)
        {
            throw new DiskException(ErrorKind.Io, $"{path}: it cannot be read ({e.Message.TrimEnd('.')}).", e) { Path = path };
        }
    }
}
