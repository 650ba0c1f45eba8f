/* Every rank says hello. Rank 0 then adds up what the others sent, so that a wrong answer shows a broken MPI. */
#include <mpi.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    int rank, size, sum, length;
    char host[MPI_MAX_PROCESSOR_NAME];

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Get_processor_name(host, &length);

    printf("Hello from rank %d of %d on %s\n", rank, size, host);
    fflush(stdout);

    MPI_Reduce(&rank, &sum, 1, MPI_INT, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0)
        printf("The ranks add up to %d\n", sum);

    MPI_Finalize();
    return 0;
}
