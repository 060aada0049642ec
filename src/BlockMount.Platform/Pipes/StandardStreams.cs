using BlockMount.Core.Errors;
using BlockMount.Platform.Native;

namespace BlockMount.Platform.Pipes;

/// <summary>Standard input and output as a way to talk with whoever started the program.</summary>
public static unsafe class StandardStreams
{
    /// <summary>
    /// Takes both from the program, once: what else it prints goes to standard error from then on, or nowhere when that leads to the same
    /// place. Either the descriptor of a socket that both were, the caller's to close, or the pair of pipes.
    /// </summary>
    /// <exception cref="DiskException">One is closed, or the host has no descriptors left.</exception>
    public static (int? Socket, PipePair? Pipes) Take()
    {
        int input, output;
        var result = Shim.TakeStandard(&input, &output);
        if (result < 0)
        {
            throw new DiskException(ErrorKind.Io, $"Standard input, output and error cannot be used: {HostErrors.TextOf(result)}.");
        }

        return output < 0 ? (input, null) : (null, new PipePair(input, output));
    }
}
