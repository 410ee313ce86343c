import { Type } from 'class-transformer';
import { IsIn, IsInt, IsOptional, IsString, Length, Max, MaxLength, Min } from 'class-validator';

const TEXT = { message: '$property must be a text of at most 1000 characters' };
const BY = { message: 'by must be your name, 1 to 255 characters' };
const REASON = { message: 'reason must be a text of 1 to 2000 characters' };
const MINUTES = { message: 'olderThanMinutes must be a whole number from 0 to 100000000' };
const STATUS = { message: 'status must be a whole number from 200 to 599' };

export const STATES = ['uncertain', 'stuck', 'running', 'completed', 'all'] as const;
export const OUTCOMES = ['retry', 'answer', 'value'] as const;

export class LoginDto {
  @IsString(TEXT)
  @MaxLength(1_000, TEXT)
  token!: string;
}

/** Query of the list. A form sends all as text, and what is left blank as an empty one. */
export class ListDto {
  @IsOptional()
  @IsIn(['', ...STATES], { message: `state must be one of ${STATES.join(', ')}` })
  state?: '' | (typeof STATES)[number];

  @IsOptional()
  @IsString(TEXT)
  @MaxLength(1_000, TEXT)
  scope?: string;

  @IsOptional()
  @Type(() => Number)
  @IsInt(MINUTES)
  @Min(0, MINUTES)
  @Max(100_000_000, MINUTES)
  olderThanMinutes?: number | string;

  @IsOptional()
  @IsString(TEXT)
  @MaxLength(1_000, TEXT)
  cursor?: string;
}

export class ActDto {
  @IsString(BY)
  @Length(1, 255, BY)
  by!: string;

  @IsString(REASON)
  @Length(1, 2_000, REASON)
  reason!: string;
}

export class ResolveDto extends ActDto {
  /** Not done; done, with this HTTP answer; done, with this value of a method or a message handler. */
  @IsIn(OUTCOMES, { message: `outcome must be one of ${OUTCOMES.join(', ')}` })
  outcome!: (typeof OUTCOMES)[number];

  @IsOptional()
  @Type(() => Number)
  @IsInt(STATUS)
  @Min(200, STATUS)
  @Max(599, STATUS)
  status?: number | string;

  /** JSON, as a text. */
  @IsOptional()
  @IsString({ message: 'body must be JSON, as a text' })
  body?: string;
}
